// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace camherd {

// The wish of SIGTERM, or of SIGINT where that is not ignored, that the service
// stops.
//
// Thread-safe; one per process.
class ShutdownSignal {
 public:
  // Blocks the signals in this thread and those it starts, so that they wait
  // for Wait(). Child processes inherit that and have to undo it.
  static void Block();

  // REQUIRES: Block() was called, which StartServiceMain does. Waits until a
  // signal arrives, and logs its name.
  void Wait();
};

}  // namespace camherd
