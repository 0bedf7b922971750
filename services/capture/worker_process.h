// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "camherd/v1/worker.pb.h"
#include "services/capture/packet_source.h"
#include "services/capture/stream_worker.h"

namespace camherd::capture {

// The other end of ProcessWorkers: runs a StreamWorker as a process of its own,
// told by and telling to the supervisor at the other end of `fd`, a
// SOCK_SEQPACKET socket. Returns the exit code, when the supervisor closes the
// socket (0) or what came over it cannot be used (2).
//
// `make_sources` is for tests; empty: MakeLibavPacketSources.
int RunWorkerProcess(
    int fd, const std::function<PacketSourceFactory(const v1::WorkerConfig&)>&
                make_sources = {});

// The options as they travel, and back.
void ToProto(const StreamWorker::Options& options, v1::WorkerConfig& config);
StreamWorker::Options FromProto(const v1::WorkerConfig& config);

}  // namespace camherd::capture
