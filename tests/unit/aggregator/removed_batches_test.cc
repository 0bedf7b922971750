// SPDX-License-Identifier: Apache-2.0
#include "services/aggregator/removed_batches.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "services/aggregator/sqlite_record_store_schema.h"
#include "services/common/file.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace camherd::aggregator {
namespace {

using ::camherd::testing::IsOk;
using ::camherd::testing::StatusIs;
using ::camherd::testing::TempDir;
using ::testing::HasSubstr;

RemovedBatch Batch(int64_t batch_seq) {
  return {.session_id = "s",
          .batch_seq = batch_seq,
          .digest = Sha256(std::to_string(batch_seq))};
}

class RemovedBatchesTest : public ::testing::Test {
 protected:
  RemovedBatchesTest() { EXPECT_THAT(db_->Migrate(kMigrations), IsOk()); }

  int64_t TableBytes() {
    int64_t bytes = 0;
    EXPECT_THAT(
        db_->Query("SELECT sum(length(digests)) FROM removed_batches",
                   [&](const SqliteDb::Row& row) { bytes = row.Int(0); }),
        IsOk());
    return bytes;
  }

  TempDir dir_;
  std::unique_ptr<SqliteDb> db_ =
      SqliteDb::Open(dir_ / "records.db", "").value();
};

TEST_F(RemovedBatchesTest, KnowsThoseAddedAndNoOthers) {
  ASSERT_THAT(AddRemovedBatches(*db_, {Batch(3), Batch(255), Batch(256)}),
              IsOk());
  ASSERT_THAT(AddRemovedBatches(*db_, {Batch(1), Batch(100000)}), IsOk());
  for (const int64_t seq : {1, 3, 255, 256, 100000}) {
    EXPECT_TRUE(IsRemovedBatch(*db_, Batch(seq)).value()) << seq;
  }
  for (const int64_t seq : {2, 4, 254, 257, 511, 512, 99999, 100001}) {
    EXPECT_FALSE(IsRemovedBatch(*db_, Batch(seq)).value()) << seq;
  }
  RemovedBatch other = Batch(3);
  other.session_id = "t";
  EXPECT_FALSE(IsRemovedBatch(*db_, other).value());
}

TEST_F(RemovedBatchesTest, AnotherManifestUnderTheNameIsAConflict) {
  ASSERT_THAT(AddRemovedBatches(*db_, {Batch(3)}), IsOk());
  RemovedBatch other = Batch(3);
  other.digest = Sha256("another");
  EXPECT_THAT(IsRemovedBatch(*db_, other),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       HasSubstr("batch 3 of session s")));
}

TEST_F(RemovedBatchesTest, ADigestOfZerosIsKnownToo) {
  RemovedBatch zeros = Batch(3);
  zeros.digest = std::string(32, '\0');
  ASSERT_THAT(AddRemovedBatches(*db_, {zeros}), IsOk());
  EXPECT_TRUE(IsRemovedBatch(*db_, zeros).value());
}

TEST_F(RemovedBatchesTest, TakesEightBytesABatch) {
  for (int64_t seq = 1; seq < 1024; ++seq) {
    ASSERT_THAT(AddRemovedBatches(*db_, {Batch(seq)}), IsOk());
  }
  EXPECT_EQ(TableBytes(), 8 * 1024);
}

}  // namespace
}  // namespace camherd::aggregator
