// SPDX-License-Identifier: Apache-2.0
// Which lines are kept from training, and what names a job's data.
#include "worker/chat_data.h"

#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/text/hash.h"
#include "tests/unit/one_rank.h"

namespace talaria::worker {
namespace {

using testing::HasSubstr;

TEST(Split, AShareOfTheHashesIsKept) {
  EXPECT_FALSE(is_validation(0, 0.0));
  EXPECT_FALSE(is_validation(std::numeric_limits<std::uint64_t>::max(), 0.999));
  EXPECT_TRUE(is_validation((std::uint64_t{1} << 62) - 4096, 0.25));
  EXPECT_FALSE(is_validation(std::uint64_t{1} << 62, 0.25));
  int kept = 0;
  for (int i = 0; i < 20000; ++i) {
    kept += is_validation(storage::content_hash(std::to_string(i)), 0.1) ? 1 : 0;
  }
  EXPECT_NEAR(kept, 2000, 150);
}

TEST(Split, EveryUnitGoesOneWayInItsOrderAndALargerShareKeepsWhatASmallerDid) {
  std::vector<storage::Conversation> units(500);
  for (std::size_t i = 0; i < units.size(); ++i) {
    units[i].hash = storage::content_hash(std::to_string(i));
    units[i].ids = {static_cast<std::int32_t>(i), 0};
  }
  const auto small = split_units(units, 0.1);
  const auto large = split_units(units, 0.4);
  for (const auto& split : {small, large}) {
    EXPECT_EQ(split.training.size() + split.validation.size(), units.size());
    for (const auto* part : {&split.training, &split.validation}) {
      EXPECT_TRUE(std::is_sorted(part->begin(), part->end(),
                                 [](const auto& a, const auto& b) { return a.ids < b.ids; }));
    }
  }
  for (const storage::Conversation& kept : small.validation) {
    EXPECT_TRUE(std::any_of(large.validation.begin(), large.validation.end(),
                            [&](const auto& each) { return each.ids == kept.ids; }));
  }
}

TEST(Fingerprint, NamesContentOrderTemplateAndTokenizer) {
  const test::ScratchFolder folder("fingerprint");
  const std::string a = folder.write("a.jsonl", "one\n");
  const std::string b = folder.write("b.jsonl", "two\n");
  const std::string joined = folder.write("c.jsonl", "one\ntwo\n");
  const std::string empty = folder.write("d.jsonl", "");
  const storage::Tokenizer tokenizer = talaria::test::tiny_tokenizer();
  launch::Job job = folder.job("sft", a);
  const auto of = [&](const std::vector<std::string>& files) {
    return files_fingerprint(job, files, tokenizer);
  };
  const std::string first = of({a, b});
  EXPECT_EQ(first.size(), 32U);
  EXPECT_EQ(of({a, b}), first);
  EXPECT_NE(of({b, a}), first);
  EXPECT_NE(of({joined}), first);
  EXPECT_NE(of({joined, empty}), of({joined}));
  EXPECT_NE(files_fingerprint(job, {a, b}, talaria::test::tiny_tokenizer({}, {"ab"})), first);
  job.data.chat = "hh";
  EXPECT_NE(of({a, b}), first);
  job.data.chat = "plain";
  folder.write("b.jsonl", "twe\n");
  EXPECT_NE(of({a, b}), first);
  folder.write("b.jsonl", "two\n");
  EXPECT_EQ(of({a, b}), first);
}

template <class Call>
std::string complaint(const Call& call) {
  try {
    call();
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no complaint";
}

TEST(Tokenizer, MoreIdsThanTheModelHasAreRefused) {
  const test::ScratchFolder folder("vocabulary");
  const launch::Job job = folder.job("sft", "x", {"model.vocab=256"});
  EXPECT_THAT(complaint([&] { open_tokenizer(job); }),
              HasSubstr("the tokenizer has 257 ids, model.vocab is 256"));
}

TEST(Selection, TheBestNeedsLinesToJudgeBy) {
  const test::ScratchFolder folder("select");
  const launch::Job job = folder.job("sft", "x", {"checkpoint.select=best", "data.validation=0"});
  EXPECT_THAT(complaint([&] { check_selectable(job, 0); }), HasSubstr("raise data.validation"));
  EXPECT_EQ(complaint([&] { check_selectable(job, 1); }), "no complaint");
  EXPECT_EQ(complaint([&] { check_selectable(folder.job("sft", "x"), 0); }), "no complaint");
}

}  // namespace
}  // namespace talaria::worker
