// SPDX-License-Identifier: Apache-2.0
#include "services/common/trace_scope.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "services/common/log.h"
#include "services/common/worker_pool.h"

namespace camherd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsNull;

TEST(TraceScopeTest, EndsWhereItEndsAndIsOfItsThread) {
  EXPECT_THAT(TraceScope::Current(), IsNull());
  const TraceContext outer = TraceContext::New();
  const TraceContext inner = TraceContext::New();
  {
    const TraceScope scope(outer);
    {
      const TraceScope nested(inner);
      EXPECT_EQ(TraceScope::Current()->trace_id, inner.trace_id);
    }
    EXPECT_EQ(TraceScope::Current()->trace_id, outer.trace_id);
    std::thread([] { EXPECT_THAT(TraceScope::Current(), IsNull()); }).join();
  }
  EXPECT_THAT(TraceScope::Current(), IsNull());
}

TEST(TraceScopeTest, LogLinesHaveItsTrace) {
  const TraceContext trace = TraceContext::New();
  ::testing::internal::CaptureStderr();
  LogInfo("before");
  {
    const TraceScope scope(trace);
    LogInfo("within", {{"stream", "gate"}});
  }
  LogInfo("after");
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, HasSubstr(absl::StrCat("msg=within stream=gate trace_id=",
                                          trace.trace_id, "\n")));
  EXPECT_THAT(log, AllOf(HasSubstr("msg=before\n"), HasSubstr("msg=after\n")));
}

TEST(TraceScopeTest, AWorkerPoolCarriesItToTheThreadThatDoesIt) {
  WorkerPool pool(1, 4);
  const TraceContext trace = TraceContext::New();
  std::string within = "none";
  std::string after = "none";
  {
    const TraceScope scope(trace);
    ASSERT_TRUE(pool.TryRun([&] { within = TraceScope::Current()->trace_id; }));
  }
  ASSERT_TRUE(pool.TryRun(
      [&] { after = TraceScope::Current() == nullptr ? "" : "another's"; }));
  pool.Stop();
  EXPECT_EQ(within, trace.trace_id);
  EXPECT_EQ(after, "");
}

}  // namespace
}  // namespace camherd
