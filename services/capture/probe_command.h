// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>
#include <string>

#include "services/capture/source_prober.h"

// `camherd-capture --probe -`: a probe for people at a terminal.
namespace camherd::capture {

// Reads one line, the URL, from `in`; prints a line a step to `out`, its hint
// below it, and what is wrong otherwise to `err`. `value` is that of --probe,
// which must be "-": a process's arguments can be seen by everyone, and a URL
// may hold a password. Returns the exit code: 0 all is well, 1 a step failed,
// 2 wrong usage or no URL of a camera.
int RunProbeCommand(const std::string& value, SourceProber& prober, FILE* in,
                    FILE* out, FILE* err);

}  // namespace camherd::capture
