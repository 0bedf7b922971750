// SPDX-License-Identifier: Apache-2.0
//
// Lets AddressSanitizer live with OpenVINO's prebuilt libraries, which are not
// instrumented: TBB must not load its parts with RTLD_DEEPBIND, and what the
// libraries keep until the end, some of it after they were unloaded, is not
// ours to free.

#include <cstdlib>

namespace {

[[maybe_unused]] const int kNoDeepBind =
    setenv("TBB_ENABLE_SANITIZERS", "1", /*overwrite=*/1);

}  // namespace

extern "C" int __lsan_is_turned_off() { return 1; }
