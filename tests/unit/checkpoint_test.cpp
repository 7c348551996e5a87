// SPDX-License-Identifier: Apache-2.0
// Save in one layout, read in another; hashes that do not know the layout; refusals; generations.
#include "storage/checkpoint/checkpoint.h"

#include <fstream>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "tests/unit/checkpoint_support.h"

namespace talaria::storage {
namespace {

namespace fs = std::filesystem;
using test::cut;
using test::save;
using test::Scratch;
using test::small_model;
using test::Tiling;
using test::wrong_elements;
using testing::HasSubstr;

const std::vector<Tiling>& tilings() {
  static const std::vector<Tiling> all = {
      {1, 1, 1, 0}, {2, 1, 2, 0}, {2, 2, 1, 1}, {8, 2, 4, 3}, {5, 7, 4, 0}, {3, 100, 2, 2},
  };
  return all;
}

template <class Call>
std::string error_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Checkpoint, EveryLayoutReadsEveryOther) {
  const Scratch scratch;
  std::int64_t step = 0;
  for (const Tiling& from : tilings()) {
    const fs::path dir = save({scratch.path(), ++step, 1}, from);
    for (const Tiling& to : tilings()) EXPECT_EQ(wrong_elements(dir, to, step), 0);
  }
}

TEST(Checkpoint, HashesDoNotDependOnTheLayout) {
  const Scratch scratch;
  ThreadPool pool(2);
  std::set<std::string> hashes;
  std::set<std::string> tensor_hashes;
  int attempt = 0;
  for (const Tiling& tiling : tilings()) {
    const fs::path dir = save({scratch.path(), 10, ++attempt}, tiling);
    const CheckpointReader reader(dir);
    hashes.insert(reader.manifest().weights_hash);
    for (const TensorRecord& tensor : reader.manifest().tensors) {
      tensor_hashes.insert(tensor.full_name() + tensor.hash.hex());
    }
    EXPECT_EQ(reader.manifest().attempt, attempt);
    EXPECT_TRUE(verify_checkpoint(dir, pool).ok());
  }
  EXPECT_EQ(hashes.size(), 1U);
  EXPECT_EQ(tensor_hashes.size(), small_model().size() * test::groups().size());
  const fs::path other = save({scratch.path(), 11, 1}, tilings()[0]);
  EXPECT_FALSE(hashes.contains(CheckpointReader(other).manifest().weights_hash));
  EXPECT_EQ(list_checkpoints(scratch.path()).size(), 2U) << "step 10 was replaced each time";
}

TEST(Checkpoint, HashSeesMovedAndSwappedElements) {
  std::vector<float> values = {1, 2, 3, 4, 5, 6, 7, 8};
  parallel::NamedBox box{"t", {4, 4}, false, {{0, 0}, {2, 4}}, values.data(), 2};
  const TensorHash original = box_hash(box, 2);
  box.box.offset[0] = 2;
  EXPECT_NE(box_hash(box, 2), original);
  box.box.offset[0] = 0;
  std::swap(values[0], values[2]);
  std::swap(values[1], values[3]);  // two whole blocks trade places
  EXPECT_NE(box_hash(box, 2), original);
  EXPECT_THAT(error_of([&] { box_hash(box, 3); }), HasSubstr("tensor t"));
  box.box = {{0, 1}, {2, 2}};
  EXPECT_THAT(error_of([&] { box_hash(box, 2); }), HasSubstr("splits a hash block"));
}

TEST(Checkpoint, HashAdditionCarriesAndHexComesBack) {
  TensorHash sum{1, ~std::uint64_t{0}};
  sum += {2, 1};
  EXPECT_EQ(sum, (TensorHash{4, 0}));
  sum = {~std::uint64_t{0}, 1};
  sum += {1, 0};
  EXPECT_EQ(sum, (TensorHash{0, 1}));
  const TensorHash hash{0x0123456789abcdef, 0xfedcba9876543210};
  EXPECT_EQ(hash.hex(), "0123456789abcdeffedcba9876543210");
  EXPECT_EQ(TensorHash::parse(hash.hex()), hash);
  EXPECT_FALSE(TensorHash::parse("0123456789ABCDEFfedcba9876543210"));
  EXPECT_FALSE(TensorHash::parse("01"));
}

TEST(Checkpoint, EveryWayAndTimeOfWritingGivesTheSameBytes) {
  const Scratch scratch;
  std::set<std::string> bytes;
  int attempt = 0;
  const double start = wall_seconds();
  for (const bool direct : {true, false}) {
    for (const bool uring : {true, false}) {
      for (const std::int64_t chunk : {std::int64_t{4096}, std::int64_t{1} << 20}) {
        const WriteOptions options{direct, uring, chunk, 3};
        const fs::path dir =
            save({scratch.path(), 1, ++attempt}, {2, 2, 2, 0}, small_model(), options);
        EXPECT_EQ(wrong_elements(dir, {1, 1, 1, 0}, 1), 0);
        bytes.insert(read_file(dir / shard_name(1, 2)) + read_file(dir / kIndexName));
      }
    }
  }
  // HDF5's time stamps have seconds.
  while (wall_seconds() < start + 1.1) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const fs::path late = save({scratch.path(), 1, ++attempt}, {2, 2, 2, 0});
  bytes.insert(read_file(late / shard_name(1, 2)) + read_file(late / kIndexName));
  EXPECT_EQ(bytes.size(), 1U);
}

TEST(Checkpoint, LargeDatasetsLieOnPages) {
  const Scratch scratch;
  const fs::path dir = save({scratch.path(), 1, 1}, {3, 2, 2, 0});
  const CheckpointReader reader(dir);
  int large = 0;
  for (const ShardRecord& shard : reader.manifest().shards) {
    EXPECT_EQ(shard.size % 4096, 0);
    for (const ShardBox& box : shard.boxes) {
      if (box.bytes() < 4096) continue;
      ++large;
      EXPECT_EQ(box.file_offset % 4096, 0) << box.dataset;
    }
  }
  EXPECT_GT(large, 0);
}

TEST(Checkpoint, RanksMayBeThreads) {
  const Scratch scratch;
  const CheckpointRef ref{scratch.path(), 4, 1};
  const std::vector<test::RankBoxes> ranks = cut(small_model(), {4, 4, 2, 0}, 4, true);
  const fs::path temporary = begin_checkpoint(ref);
  std::vector<std::string> records(4);
  ThreadPool pool(4);
  pool.run(4, [&](std::int64_t rank, int) {
    const auto at = static_cast<std::size_t>(rank);
    records[at] = write_shard(temporary, static_cast<int>(rank), 4, ranks[at].groups);
  });
  std::swap(records[0], records[3]);  // the order of records does not matter
  commit_checkpoint(ref, temporary, records, "{}");
  EXPECT_TRUE(verify_checkpoint(ref.final_path(), pool).ok());
  EXPECT_EQ(wrong_elements(ref.final_path(), {3, 2, 4, 0}, 4), 0);
}

TEST(Checkpoint, MetaComesBack) {
  const Scratch scratch;
  const fs::path dir = save({scratch.path(), 3, 2}, {2, 1, 1, 0});
  const CheckpointReader reader(dir);
  EXPECT_EQ(reader.manifest().meta_json, R"({"seed":"7","loader":{"samples":640}})");
  EXPECT_EQ(reader.manifest().step, 3);
  EXPECT_EQ(reader.manifest().world, 2);
}

TEST(Checkpoint, EmptyRanksAndEmptyBoxesAreAllowed) {
  const Scratch scratch;
  const std::vector<test::TestTensor> one = {{"ln_f.bias", {5, 1}, true, 1}};
  const fs::path dir = save({scratch.path(), 1, 1}, {4, 3, 1, 0}, one);
  EXPECT_EQ(wrong_elements(dir, {1, 1, 1, 0}, 1, one), 0);
}

TEST(Checkpoint, ReaderRefusesWhatIsNotThere) {
  const Scratch scratch;
  const CheckpointReader reader(save({scratch.path(), 1, 1}, {2, 2, 1, 0}));
  std::vector<float> memory(24 * 24);
  const auto read = [&](parallel::NamedBox box, const std::string& group) {
    box.data = memory.data();
    return error_of([&] { reader.read(group, std::span(&box, 1)); });
  };
  const parallel::Box all{{0, 0}, {24, 24}};
  EXPECT_EQ(read({"blocks.0.attn.q.weight", {24, 24}, false, all, nullptr, 0}, "param"),
            "no error");
  EXPECT_THAT(read({"blocks.9.attn.q.weight", {24, 24}, false, all, nullptr, 0}, "param"),
              HasSubstr("no tensor param/blocks.9.attn.q.weight"));
  EXPECT_THAT(read({"blocks.0.attn.q.weight", {24, 24}, false, all, nullptr, 0}, "adam_x"),
              HasSubstr("adam_x/blocks.0.attn.q.weight"));
  EXPECT_THAT(read({"blocks.0.attn.q.weight", {48, 24}, false, all, nullptr, 0}, "param"),
              HasSubstr("blocks.0.attn.q.weight is [24, 24], wanted is [48, 24]"));
  EXPECT_THAT(
      read({"blocks.0.attn.q.weight", {24, 24}, false, {{20, 0}, {8, 24}}, nullptr, 0}, "param"),
      HasSubstr("hold 96 of the 192 elements"));
}

// A save whose boxes of adam_m/blocks.0.attn.q.weight were changed by `edit`.
template <class Edit>
std::string commit_error(const fs::path& root, Edit&& edit) {
  const CheckpointRef ref{root, 5, 1};
  std::vector<test::RankBoxes> ranks = cut(small_model(), {2, 2, 1, 0}, 5, true);
  for (BoxGroup& group : ranks[1].groups) {
    if (group.group != "adam_m") continue;
    for (auto& box : group.boxes) {
      if (box.tensor == "blocks.0.attn.q.weight") edit(box);
    }
  }
  return error_of([&] {
    const fs::path temporary = begin_checkpoint(ref);
    std::vector<std::string> records;
    for (int rank = 0; rank < 2; ++rank) {
      records.push_back(
          write_shard(temporary, rank, 2, ranks[static_cast<std::size_t>(rank)].groups));
    }
    commit_checkpoint(ref, temporary, records, "{}");
  });
}

TEST(Checkpoint, CommitRefusesBoxesThatDoNotTile) {
  const Scratch scratch;
  const auto name = HasSubstr("tensor adam_m/blocks.0.attn.q.weight");
  EXPECT_EQ(commit_error(scratch.path(), [](auto&) {}), "no error");
  EXPECT_THAT(commit_error(scratch.path(), [](auto& box) { box.box.extent[0] -= 1; }),
              testing::AllOf(name, HasSubstr("cover 552 of 576")));
  EXPECT_THAT(commit_error(scratch.path(), [](auto& box) { box.box.offset[0] -= 1; }),
              testing::AllOf(name, HasSubstr("overlap")));
  EXPECT_THAT(commit_error(scratch.path(), [](auto& box) { box.box.offset[0] += 1; }),
              testing::AllOf(name, HasSubstr("outside")));
  EXPECT_THAT(commit_error(scratch.path(), [](auto& box) { box.global[0] = 30; }),
              testing::AllOf(name, HasSubstr("disagree")));
  EXPECT_THAT(commit_error(scratch.path(), [](auto& box) { box.hash_columns = 12; }),
              testing::AllOf(name, HasSubstr("disagree")));
  EXPECT_THAT(commit_error(scratch.path(), [](auto& box) { box.tensor = "a/b"; }),
              HasSubstr("tensor name \"a/b\""));
  EXPECT_EQ(list_checkpoints(scratch.path()).size(), 1U) << "the first one, still there";
  EXPECT_EQ(wrong_elements(scratch.path() / step_name(5), {1, 1, 1, 0}, 5), 0);
}

TEST(Checkpoint, CommitRefusesMissingRanksAndBadMeta) {
  const Scratch scratch;
  const CheckpointRef ref{scratch.path(), 5, 1};
  const std::vector<test::RankBoxes> ranks = cut(small_model(), {2, 2, 1, 0}, 5, true);
  const auto commit = [&](bool twice, const std::string& meta) {
    const fs::path temporary = begin_checkpoint(ref);
    std::vector<std::string> records = {write_shard(temporary, 0, 2, ranks[0].groups),
                                        write_shard(temporary, 1, 2, ranks[1].groups)};
    if (twice) records[1] = records[0];
    return error_of([&] { commit_checkpoint(ref, temporary, records, meta); });
  };
  EXPECT_THAT(commit(true, "{}"), HasSubstr("rank 0 of 2"));
  EXPECT_THAT(commit(false, "[1]"), HasSubstr("meta_json"));
  EXPECT_THAT(commit(false, "{"), HasSubstr("meta_json"));
  EXPECT_TRUE(fs::is_empty(scratch.path())) << "temporaries are gone";
}

TEST(Checkpoint, OnlyCommittedFoldersAreListed) {
  const Scratch scratch;
  save({scratch.path(), 20, 1}, {1, 1, 1, 0});
  const fs::path good = save({scratch.path(), 100, 2}, {2, 1, 1, 0});
  fs::create_directory(scratch.path() / "step-00000999");
  fs::copy(good, scratch.path() / "step-00000998", fs::copy_options::recursive);  // of step 100
  fs::copy(good, scratch.path() / "step-1000", fs::copy_options::recursive);
  fs::copy(good, scratch.path() / "tmp-step-00002000-attempt-001", fs::copy_options::recursive);
  fs::copy(good, scratch.path() / "step-0000100x", fs::copy_options::recursive);
  std::ofstream(scratch.path() / "step-00003000") << "a file";
  const std::vector<CheckpointInfo> found = list_checkpoints(scratch.path());
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].path, good);
  EXPECT_EQ(found[0].attempt, 2);
  EXPECT_EQ(found[1].step, 20);
  ThreadPool pool(1);
  const Restored restored = find_restorable(scratch.path(), pool);
  EXPECT_EQ(restored.checkpoint->path, good);
  ASSERT_EQ(restored.skipped.size(), 2U);
  EXPECT_THAT(restored.skipped[0].reason, HasSubstr("manifest.json: missing"));
  EXPECT_THAT(restored.skipped[1].reason, HasSubstr("of step 100"));
  EXPECT_FALSE(find_restorable(scratch.path() / "none", pool).checkpoint);
}

TEST(Checkpoint, BeginRemovesWhatOlderAttemptsLeft) {
  const Scratch scratch;
  const fs::path old = begin_checkpoint({scratch.path(), 5, 1});
  const fs::path newer = begin_checkpoint({scratch.path(), 5, 7});
  EXPECT_FALSE(fs::exists(old));
  begin_checkpoint({scratch.path(), 8, 3});
  EXPECT_TRUE(fs::exists(newer)) << "a newer attempt owns it";
  fs::create_directory(scratch.path() / "tmp-mine");
  fs::create_directory(scratch.path() / "tmp-removed-step-00000001");
  begin_checkpoint({scratch.path(), 9, 8});
  EXPECT_FALSE(fs::exists(newer));
  EXPECT_TRUE(fs::exists(scratch.path() / "tmp-mine")) << "not ours";
  EXPECT_FALSE(fs::exists(scratch.path() / "tmp-removed-step-00000001"));
}

TEST(Checkpoint, PruneKeepsTheNewestAndNeverTheLastGoodOne) {
  const Scratch scratch;
  ThreadPool pool(2);
  for (const std::int64_t step : {1, 2, 3, 4}) save({scratch.path(), step, 1}, {2, 1, 1, 0});
  EXPECT_EQ(prune_checkpoints(scratch.path(), 3, pool),
            std::vector<fs::path>{scratch.path() / step_name(1)});
  fs::resize_file(scratch.path() / step_name(4) / shard_name(0, 2), 4096);
  fs::remove(scratch.path() / step_name(3) / kIndexName);
  EXPECT_TRUE(prune_checkpoints(scratch.path(), 2, pool).empty())
      << "step 2 is the one that verifies";
  EXPECT_EQ(find_restorable(scratch.path(), pool).checkpoint->step, 2);
  save({scratch.path(), 5, 1}, {2, 1, 1, 0});
  EXPECT_EQ(prune_checkpoints(scratch.path(), 1, pool, 2).size(), 2U) << "step 2 is kept as well";
  EXPECT_EQ(prune_checkpoints(scratch.path(), 1, pool).size(), 1U);
  EXPECT_EQ(step_folders(scratch.path()), std::vector<fs::path>{scratch.path() / step_name(5)});
}

}  // namespace
}  // namespace talaria::storage
