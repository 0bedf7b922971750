// SPDX-License-Identifier: Apache-2.0
#include "services/capture/probe_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace camherd::capture {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// Finds what the test says.
class FakeProber : public SourceProber {
 public:
  absl::Status Probe(const ProbeTarget& target, const StepSink& on_step,
                     const std::function<bool()>&) override {
    urls.push_back(target.url.Full());
    for (const v1::ProbeSourceResponse& step : steps) on_step(step);
    return status;
  }

  std::vector<v1::ProbeSourceResponse> steps;
  absl::Status status;
  std::vector<std::string> urls;
};

class ProbeCommandTest : public ::testing::Test {
 protected:
  int Run(const std::string& input, const std::string& value = "-") {
    std::unique_ptr<FILE, int (*)(FILE*)> in(std::tmpfile(), std::fclose);
    std::fwrite(input.data(), 1, input.size(), in.get());
    std::rewind(in.get());
    char* texts[2] = {nullptr, nullptr};
    size_t sizes[2] = {0, 0};
    FILE* out = open_memstream(&texts[0], &sizes[0]);
    FILE* err = open_memstream(&texts[1], &sizes[1]);
    const int code = RunProbeCommand(value, prober_, in.get(), out, err);
    std::fclose(out);
    std::fclose(err);
    out_.assign(texts[0], sizes[0]);
    err_.assign(texts[1], sizes[1]);
    std::free(texts[0]);
    std::free(texts[1]);
    return code;
  }

  void AddStep(v1::ProbeStep step, bool ok, const std::string& detail,
               const std::string& hint) {
    v1::ProbeSourceResponse response;
    response.set_step(step);
    response.set_ok(ok);
    response.set_elapsed_seconds(0.25);
    response.set_detail(detail);
    response.set_hint(hint);
    prober_.steps.push_back(std::move(response));
  }

  FakeProber prober_;
  std::string out_;
  std::string err_;
};

TEST_F(ProbeCommandTest, PrintsALineAStepAndTheHintsBelow) {
  AddStep(v1::PROBE_STEP_DNS, true, "127.0.0.1", "");
  AddStep(v1::PROBE_STEP_TCP, false, "the connection was refused",
          "Check the port.");
  EXPECT_EQ(Run("rtsp://admin:canary@127.0.0.1/a\nrtsp://other/b\n"), 1);
  EXPECT_EQ(out_,
            "dns       ok        0.25 s  127.0.0.1\n"
            "tcp       failed    0.25 s  the connection was refused\n"
            "          Check the port.\n");
  EXPECT_THAT(err_, IsEmpty());
  EXPECT_THAT(prober_.urls,
              ::testing::ElementsAre("rtsp://admin:canary@127.0.0.1/a"));
}

TEST_F(ProbeCommandTest, TakesALineWithoutAnEnd) {
  AddStep(v1::PROBE_STEP_DNS, true, "127.0.0.1", "");
  EXPECT_EQ(Run("rtsp://127.0.0.1/a\r\n"), 0);
  EXPECT_EQ(Run("rtsp://127.0.0.1/a"), 0);
  EXPECT_EQ(prober_.urls[0], prober_.urls[1]);
}

TEST_F(ProbeCommandTest, RefusesAUrlAsAnArgumentWithoutRepeatingIt) {
  EXPECT_EQ(Run("", "rtsp://admin:canary@127.0.0.1/a"), 2);
  EXPECT_THAT(err_, AllOf(HasSubstr("standard input"), HasSubstr("password"),
                          Not(HasSubstr("canary")), Not(HasSubstr("rtsp"))));
  EXPECT_THAT(out_, IsEmpty());
  EXPECT_THAT(prober_.urls, IsEmpty());
}

TEST_F(ProbeCommandTest, RefusesWhatIsNoUrlOfACamera) {
  for (const std::string& input :
       {std::string(), std::string("\n"), std::string("http://u:canary@h/\n"),
        std::string("rtsp://u:canary@127.0.0.1/a\0b\n", 30),
        absl::StrCat("rtsp://h/", std::string(10000, 'a'))}) {
    EXPECT_EQ(Run(input), 2) << input.substr(0, 40);
    EXPECT_THAT(
        err_, AllOf(HasSubstr("camherd-capture: "), Not(HasSubstr("canary"))));
    EXPECT_THAT(out_, IsEmpty());
  }
  EXPECT_THAT(prober_.urls, IsEmpty());
}

TEST_F(ProbeCommandTest, AProbeThatCouldNotRunIsAFailure) {
  prober_.status = absl::InternalError("no memory for rtsp://u:canary@h/a");
  EXPECT_EQ(Run("rtsp://127.0.0.1/a\n"), 1);
  EXPECT_THAT(err_, AllOf(HasSubstr("no memory"), Not(HasSubstr("canary"))));
}

}  // namespace
}  // namespace camherd::capture
