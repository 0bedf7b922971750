// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

// What has to be put right when a signal ends a command.
//
// For the main thread.
namespace camherd::cli {

// From now on SIGINT ends the process with exit code 130, SIGTERM with 143,
// after what the others here have asked for.
void CatchInterrupts();

// That file is removed then; "": none is.
void RemoveAtInterrupt(const std::string& path);

// What is typed is not shown on the terminal until ShowInput, or the end.
void HideInput();
void ShowInput();

}  // namespace camherd::cli
