// SPDX-License-Identifier: Apache-2.0
// index.h5 as other programs see it (h5py is the oracle), also with too few file descriptors; and
// the command line, which needs few.
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "cluster/base/file.h"
#include "storage/checkpoint/checkpoint_command.h"
#include "storage/checkpoint/index.h"
#include "tests/unit/checkpoint_support.h"

namespace talaria::storage {
namespace {

namespace fs = std::filesystem;
using test::ChildEnd;
using test::save;
using test::Scratch;
using testing::HasSubstr;

constexpr std::int64_t kStep = 12;

std::int64_t model_elements(const std::vector<test::TestTensor>& model) {
  std::int64_t sum = 0;
  for (const auto& tensor : model) sum += tensor.global[0] * tensor.global[1];
  return sum * static_cast<std::int64_t>(test::groups().size());
}

// Writes every tensor's expected values as a raw file.
fs::path write_expected(const fs::path& folder, const std::vector<test::TestTensor>& model) {
  fs::create_directory(folder);
  const auto ranks = test::cut(model, {1, 1, 1, 0}, kStep, true);
  for (const BoxGroup& group : ranks[0].groups) {
    for (const auto& box : group.boxes) {
      std::ofstream(folder / (group.group + "+" + box.tensor), std::ios::binary)
          .write(reinterpret_cast<const char*>(box.data), box.box.count() * 4);
    }
  }
  return folder;
}

// What h5py reads, from a working directory that is not the checkpoint's, with at most `limit` open
// files.
ChildEnd read_by_h5py(const fs::path& dir, const fs::path& raw, int limit) {
  return test::shell(
      fmt::format("cd / && ulimit -n {} && exec /usr/bin/python3 {}/tests/unit/checkpoint_index.py "
                  "{} {}",
                  limit, TALARIA_SOURCE_DIR, (dir / kIndexName).string(), raw.string()));
}

TEST(CheckpointIndex, H5pyReadsWholeTensors) {
  const Scratch scratch;
  const fs::path raw = write_expected(scratch.path() / "raw", test::small_model());
  const std::string all =
      fmt::format("equal {} missing 0 wrong 0\n", model_elements(test::small_model()));
  for (const test::Tiling& tiling : {test::Tiling{1, 1, 1, 0}, {8, 2, 4, 3}, {5, 7, 4, 0}}) {
    const ChildEnd end = read_by_h5py(save({scratch.path() / "c", kStep, 1}, tiling), raw, 1024);
    EXPECT_EQ(end.exit_code, 0);
    EXPECT_EQ(end.output, all);
  }
}

// 80 shards, all of which hold rows of tok_embed.
constexpr test::Tiling kWide = {80, 80, 1, 0};

TEST(CheckpointIndex, TooFewDescriptorsGiveNanAndNeverAnotherNumber) {
  const Scratch scratch;
  const fs::path raw = write_expected(scratch.path() / "raw", test::small_model());
  const fs::path dir = save({scratch.path() / "c", kStep, 1}, kWide);
  const std::int64_t all = model_elements(test::small_model());
  EXPECT_EQ(read_by_h5py(dir, raw, 1024).output, fmt::format("equal {} missing 0 wrong 0\n", all));
  const ChildEnd few = read_by_h5py(dir, raw, 64);
  ASSERT_EQ(few.exit_code, 0) << few.output;
  std::int64_t equal = 0;
  std::int64_t missing = 0;
  std::int64_t wrong = -1;
  ASSERT_EQ(
      std::sscanf(few.output.c_str(), "equal %ld missing %ld wrong %ld", &equal, &missing, &wrong),
      3);
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(equal + missing, all);
  EXPECT_GT(missing, 0) << "the limit was not reached: this case proves nothing";
}

TEST(CheckpointIndex, MissingShardReadsAsNan) {
  const Scratch scratch;
  const fs::path raw = write_expected(scratch.path() / "raw", test::small_model());
  const fs::path dir = save({scratch.path() / "c", kStep, 1}, {4, 4, 1, 0});
  fs::remove(dir / shard_name(2, 4));
  const ChildEnd end = read_by_h5py(dir, raw, 1024);
  EXPECT_THAT(end.output,
              testing::AllOf(HasSubstr("wrong 0"), testing::Not(HasSubstr("missing 0"))));
}

// Runs `checkpoint ...` with at most `limit` open files.
ChildEnd command(std::vector<std::string> words, rlim_t limit = 1024) {
  return test::in_child([&] {
    const rlimit files{limit, limit};
    if (::setrlimit(RLIMIT_NOFILE, &files) != 0) return 98;
    std::vector<char*> argv;
    words.insert(words.begin(), "checkpoint");
    for (std::string& word : words) argv.push_back(word.data());
    return checkpoint_command(static_cast<int>(argv.size()), argv.data());
  });
}

TEST(CheckpointCommand, ReadsRightValuesWithFewDescriptors) {
  const Scratch scratch;
  const fs::path dir = save({scratch.path(), kStep, 1}, kWide);
  EXPECT_EQ(test::in_child([&] {
              const rlimit files{64, 64};
              if (::setrlimit(RLIMIT_NOFILE, &files) != 0) return 98;
              return test::wrong_elements(dir, {1, 1, 1, 0}, kStep) == 0 ? 0 : 1;
            }).exit_code,
            0);
  const ChildEnd end =
      command({"show", dir.string(), "--tensor", "adam_v/ln_f.bias", "--json"}, 64);
  EXPECT_EQ(end.exit_code, 0);
  std::string values;
  for (std::int64_t row = 0; row < 5; ++row) {
    values += fmt::format("{}{:.9g}", row > 0 ? "," : "",
                          test::element("adam_v", "ln_f.bias", row, 0, kStep));
  }
  EXPECT_THAT(end.output, HasSubstr("\"values\":[" + values + "]"));
  EXPECT_EQ(command({"show", dir.string(), "--tensor", "tok_embed"}, 64).exit_code, 0);
  EXPECT_EQ(command({"verify", dir.string()}, 64).exit_code, 0);
}

TEST(CheckpointCommand, ListsShowsAndVerifies) {
  const Scratch scratch;
  save({scratch.path(), 1, 1}, {2, 2, 1, 0});
  const fs::path dir = save({scratch.path(), 2, 1}, {2, 2, 1, 0});
  const std::string hash = CheckpointReader(dir).manifest().weights_hash;
  EXPECT_THAT(command({"list", scratch.path().string()}).output, HasSubstr(hash));
  EXPECT_THAT(command({"list", scratch.path().string(), "--json"}).output,
              HasSubstr("\"step\":2,"));
  EXPECT_THAT(command({"show", dir.string() + "/"}).output,
              HasSubstr("param/blocks.0.attn.q.weight"));
  EXPECT_THAT(command({"show", dir.string(), "--json"}).output,
              HasSubstr("\"loader\":{\"samples\":640}"));
  EXPECT_EQ(command({"verify", scratch.path().string()}).exit_code, 0);

  std::fstream(dir / shard_name(1, 2), std::ios::in | std::ios::out)
      .seekp(-1, std::ios::end)
      .put('x');
  const ChildEnd damaged = command({"verify", scratch.path().string()});
  EXPECT_EQ(damaged.exit_code, 1);
  EXPECT_THAT(damaged.output,
              testing::AllOf(HasSubstr("step-00000002: DAMAGED"), HasSubstr("step-00000001: ok"),
                             HasSubstr(shard_name(1, 2) + ":")));
  EXPECT_THAT(command({"verify", dir.string(), "--json"}).output, HasSubstr("\"ok\":false"));
  fs::remove(dir / kManifestName);
  EXPECT_THAT(command({"verify", dir.string()}).output, HasSubstr("manifest.json: missing"));
  EXPECT_THAT(command({"list", scratch.path().string()}).output, HasSubstr("1 more folders"));
}

TEST(CheckpointCommand, ShowRefusesDamagedTensors) {
  const Scratch scratch;
  const fs::path dir = save({scratch.path(), 1, 1}, {1, 1, 1, 0});
  const CheckpointReader reader(dir);
  const ShardBox& box = reader.manifest().shards[0].boxes[0];
  std::fstream(dir / shard_name(0, 1), std::ios::in | std::ios::out)
      .seekp(box.file_offset)
      .put('x');
  const ChildEnd end = command({"show", dir.string(), "--tensor", box.full_name()});
  EXPECT_EQ(end.exit_code, 1);
  EXPECT_THAT(end.output, HasSubstr("tensor " + box.full_name() + ": its bytes differ"));
}

TEST(CheckpointCommand, WrongUsageIsOneLineAndExit2) {
  const Scratch scratch;
  const fs::path dir = save({scratch.path(), 1, 1}, {1, 1, 1, 0});
  for (const std::vector<std::string>& words : {std::vector<std::string>{},
                                                {"lits"},
                                                {"list"},
                                                {"list", "/no/such/folder"},
                                                {"verify", "/no/such/folder"},
                                                {"show", dir.string(), "--tensor", "nothing"},
                                                {"show", dir.string(), "--frob"}}) {
    const ChildEnd end = command(words);
    EXPECT_EQ(end.exit_code, 2) << end.output;
    EXPECT_EQ(std::count(end.output.begin(), end.output.end(), '\n'), 1) << end.output;
  }
  EXPECT_EQ(command({"--help"}).exit_code, 0);
}

}  // namespace
}  // namespace talaria::storage
