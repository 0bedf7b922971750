// SPDX-License-Identifier: Apache-2.0
// Linked into the tests of the tsan build only. Debian's Abseil is not built
// for ThreadSanitizer, which therefore sees no order between two threads that
// use one absl::Mutex and reports a race on all that it guards. These functions
// stand before the library's (symbols of the program come first) and tell.
#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"

extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
}

namespace {

// Conditions of others are evaluated by who unlocks, in the library's middle of
// it; those reads are in order, which cannot be told from outside.
class IgnoreReads {
 public:
  IgnoreReads() { AnnotateIgnoreReadsBegin(__FILE__, __LINE__); }
  ~IgnoreReads() { AnnotateIgnoreReadsEnd(__FILE__, __LINE__); }
};

}  // namespace

// FORWARD(name, mangled name, result, (parameters), (arguments)): calls the
// library's function; what the thread did before is released to, and what
// others did is acquired from, those who use the same object.
#define FORWARD(name, mangled, result, parameters, arguments)        \
  extern "C" result name parameters __asm__(mangled);                \
  extern "C" result name parameters {                                \
    using Function = result(*) parameters;                           \
    static const auto real =                                         \
        reinterpret_cast<Function>(dlsym(RTLD_NEXT, mangled));       \
    struct Order {                                                   \
      explicit Order(const void* o) : object(const_cast<void*>(o)) { \
        __tsan_release(object);                                      \
      }                                                              \
      ~Order() { __tsan_acquire(object); }                           \
      void* object;                                                  \
    } order(self);                                                   \
    IgnoreReads ignore;                                              \
    return real arguments;                                           \
  }

#define MUTEX "_ZN4absl7debian35Mutex"
#define CONDITION "ERKNS0_9ConditionE"
#define CONDVAR "_ZN4absl7debian37CondVar"
#define MUTEX_POINTER "EPNS0_5MutexE"
#define NOTIFICATION "_ZNK4absl7debian312Notification"

using absl::Condition;
using absl::CondVar;
using absl::Duration;
using absl::Mutex;
using absl::Notification;
using absl::Time;

FORWARD(TsanLock, MUTEX "4LockEv", void, (Mutex * self), (self))
FORWARD(TsanUnlock, MUTEX "6UnlockEv", void, (Mutex * self), (self))
FORWARD(TsanTryLock, MUTEX "7TryLockEv", bool, (Mutex * self), (self))
FORWARD(TsanReaderLock, MUTEX "10ReaderLockEv", void, (Mutex * self), (self))
FORWARD(TsanReaderUnlock, MUTEX "12ReaderUnlockEv", void, (Mutex * self),
        (self))
FORWARD(TsanAwait, MUTEX "5Await" CONDITION, void,
        (Mutex * self, const Condition& c), (self, c))
FORWARD(TsanAwaitWithTimeout,
        MUTEX "16AwaitWithTimeout" CONDITION "NS0_8DurationE", bool,
        (Mutex * self, const Condition& c, Duration d), (self, c, d))
FORWARD(TsanAwaitWithDeadline,
        MUTEX "17AwaitWithDeadline" CONDITION "NS0_4TimeE", bool,
        (Mutex * self, const Condition& c, Time t), (self, c, t))
FORWARD(TsanLockWhen, MUTEX "8LockWhen" CONDITION, void,
        (Mutex * self, const Condition& c), (self, c))
FORWARD(TsanLockWhenWithTimeout,
        MUTEX "19LockWhenWithTimeout" CONDITION "NS0_8DurationE", bool,
        (Mutex * self, const Condition& c, Duration d), (self, c, d))
FORWARD(TsanCondVarWait, CONDVAR "4Wait" MUTEX_POINTER, void,
        (CondVar * condition, Mutex* self), (condition, self))
FORWARD(TsanCondVarWaitWithTimeout,
        CONDVAR "15WaitWithTimeout" MUTEX_POINTER "NS0_8DurationE", bool,
        (CondVar * condition, Mutex* self, Duration d), (condition, self, d))
FORWARD(TsanNotify, "_ZN4absl7debian312Notification6NotifyEv", void,
        (Notification * self), (self))
FORWARD(TsanWait, NOTIFICATION "19WaitForNotificationEv", void,
        (const Notification* self), (self))
FORWARD(TsanWaitWithTimeout,
        NOTIFICATION "30WaitForNotificationWithTimeoutENS0_8DurationE", bool,
        (const Notification* self, Duration d), (self, d))
