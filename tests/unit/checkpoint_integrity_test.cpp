// SPDX-License-Identifier: Apache-2.0
// No damaged byte goes unseen, and the restart takes the newest checkpoint that is whole.
#include <fstream>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "storage/checkpoint/index.h"
#include "tests/unit/checkpoint_support.h"

namespace talaria::storage {
namespace {

namespace fs = std::filesystem;
using test::save;
using test::Scratch;
using testing::HasSubstr;

constexpr test::Tiling kTiling = {3, 2, 4, 0};

// Changes one byte; calling it again with the same mask undoes it.
void flip(const fs::path& path, std::int64_t offset, unsigned char mask) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(offset);
  const char old = static_cast<char>(file.get());
  file.seekp(offset);
  file.put(static_cast<char>(static_cast<unsigned char>(old) ^ mask));
  file.close();
  ASSERT_TRUE(file.good()) << path << " " << offset;
}

struct Place {
  fs::path file;
  std::int64_t offset;
  std::string tensor;  // that holds the byte, or empty
};

// The kinds of places: inside of tensors, elsewhere in shards, the index, the manifest.
enum class Kind { kData, kPadding, kIndex, kManifest };

Place choose(const fs::path& dir, const Manifest& manifest, Kind kind, std::mt19937_64& random) {
  const auto below = [&](std::int64_t n) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n));
  };
  if (kind == Kind::kIndex) return {dir / kIndexName, below(manifest.index.size), ""};
  if (kind == Kind::kManifest) {
    const auto size = static_cast<std::int64_t>(fs::file_size(dir / kManifestName));
    return {dir / kManifestName, below(size), ""};
  }
  const ShardRecord& shard = manifest.shards[static_cast<std::size_t>(below(manifest.world))];
  while (true) {
    Place place{dir / shard.file, below(shard.size), ""};
    for (const ShardBox& box : shard.boxes) {
      if (place.offset >= box.file_offset && place.offset < box.file_offset + box.bytes()) {
        place.tensor = box.full_name();
      }
    }
    if (place.tensor.empty() == (kind == Kind::kPadding)) return place;
  }
}

TEST(CheckpointIntegrity, EverySingleByteFlipIsFoundAndNamed) {
  const Scratch scratch;
  ThreadPool pool(2);
  const fs::path dir = save({scratch.path(), 7, 1}, kTiling);
  const Manifest manifest = CheckpointReader(dir).manifest();
  const std::uint64_t seed = 20240607;
  std::mt19937_64 random(seed);
  for (int i = 0; i < 100; ++i) {
    const Place place = choose(dir, manifest, static_cast<Kind>(i % 4), random);
    const auto mask = static_cast<unsigned char>(1 + random() % 255);
    flip(place.file, place.offset, mask);
    const VerifyReport report = verify_checkpoint(dir, pool);
    ASSERT_EQ(report.damages.size(), 1U)
        << "seed " << seed << " flip " << i << " of " << place.file << " at " << place.offset;
    EXPECT_EQ(report.damages[0].file, place.file);
    EXPECT_EQ(report.damages[0].tensor, place.tensor);
    EXPECT_FALSE(find_restorable(scratch.path(), pool).checkpoint);
    flip(place.file, place.offset, mask);
  }
  EXPECT_TRUE(verify_checkpoint(dir, pool).ok());
}

TEST(CheckpointIntegrity, EveryByteOfTheManifestCounts) {
  const Scratch scratch;
  const std::vector<test::TestTensor> one = {{"ln_f.bias", {5, 1}, true, 1}};
  const fs::path dir = save({scratch.path(), 7, 1}, {1, 1, 1, 0}, one);
  const std::string text = read_file(dir / kManifestName);
  ASSERT_TRUE(parse_manifest(text));
  for (std::size_t at = 0; at < text.size(); ++at) {
    std::string changed = text;
    changed[at] = static_cast<char>(changed[at] ^ 0x20);
    EXPECT_FALSE(parse_manifest(changed)) << "byte " << at;
    EXPECT_FALSE(parse_manifest(text.substr(0, at))) << "cut at " << at;
  }
  EXPECT_FALSE(parse_manifest(text + "\n"));
}

TEST(CheckpointIntegrity, SeveralDamagesAreAllReported) {
  const Scratch scratch;
  ThreadPool pool(1);
  const fs::path dir = save({scratch.path(), 7, 1}, kTiling);
  const Manifest manifest = CheckpointReader(dir).manifest();
  const ShardBox& first = manifest.shards[0].boxes.front();
  const ShardBox& last = manifest.shards[0].boxes.back();
  flip(dir / shard_name(0, 3), first.file_offset, 1);
  flip(dir / shard_name(0, 3), last.file_offset + last.bytes() - 1, 1);
  fs::remove(dir / shard_name(1, 3));
  flip(dir / kIndexName, 100, 1);
  const VerifyReport report = verify_checkpoint(dir, pool);
  ASSERT_EQ(report.damages.size(), 4U);
  EXPECT_EQ(report.damages[0].tensor, first.full_name());
  EXPECT_EQ(report.damages[1].tensor, last.full_name());
  EXPECT_EQ(report.damages[2].message(), (dir / shard_name(1, 3)).string() + ": missing");
  EXPECT_EQ(report.damages[3].file.filename(), kIndexName);
  EXPECT_THAT(find_restorable(scratch.path(), pool).skipped.at(0).reason,
              HasSubstr("(and 3 more)"));
}

TEST(CheckpointIntegrity, CutFilesNameWhatIsLost) {
  const Scratch scratch;
  ThreadPool pool(1);
  const fs::path dir = save({scratch.path(), 7, 1}, kTiling);
  const Manifest manifest = CheckpointReader(dir).manifest();
  const ShardBox& last = manifest.shards[2].boxes.back();
  fs::resize_file(dir / shard_name(2, 3), static_cast<std::uintmax_t>(last.file_offset + 4));
  const VerifyReport report = verify_checkpoint(dir, pool);
  ASSERT_EQ(report.damages.size(), 2U);
  EXPECT_EQ(report.damages[0].tensor, last.full_name());
  EXPECT_THAT(report.damages[0].what, HasSubstr("cut off"));
  EXPECT_THAT(report.damages[1].what, HasSubstr("the manifest says"));
  EXPECT_THROW(test::wrong_elements(dir, {1, 1, 1, 0}, 7), Error);
}

TEST(CheckpointIntegrity, ExtraFilesAreNoDamageAndAreTold) {
  const Scratch scratch;
  ThreadPool pool(1);
  const fs::path dir = save({scratch.path(), 7, 1}, kTiling);
  std::ofstream(dir / "shard-00009-of-00010.h5") << "junk";
  std::ofstream(dir / "notes.txt") << "mine";
  const VerifyReport report = verify_checkpoint(dir, pool);
  EXPECT_TRUE(report.ok());
  EXPECT_THAT(report.extra_files, testing::ElementsAre("notes.txt", "shard-00009-of-00010.h5"));
  EXPECT_EQ(report.files, 4);
}

TEST(CheckpointIntegrity, AFolderInAFilesPlaceIsDamage) {
  const Scratch scratch;
  ThreadPool pool(1);
  const fs::path dir = save({scratch.path(), 7, 1}, kTiling);
  fs::remove(dir / shard_name(0, 3));
  fs::create_directory(dir / shard_name(0, 3));
  EXPECT_FALSE(verify_checkpoint(dir, pool).ok());
}

TEST(CheckpointIntegrity, ShardsOfAnotherSaveAreDamage) {
  const Scratch scratch;
  ThreadPool pool(1);
  const fs::path older = save({scratch.path(), 7, 1}, kTiling);
  const fs::path dir = save({scratch.path(), 8, 1}, kTiling);
  fs::copy_file(older / shard_name(1, 3), dir / shard_name(1, 3),
                fs::copy_options::overwrite_existing);
  EXPECT_FALSE(verify_checkpoint(dir, pool).ok());
}

TEST(CheckpointIntegrity, RestoreFallsBackOneGenerationAndSaysSo) {
  const Scratch scratch;
  ThreadPool pool(2);
  const fs::path older = save({scratch.path(), 7, 1}, kTiling);
  const fs::path newer = save({scratch.path(), 8, 1}, {2, 2, 2, 0});
  EXPECT_EQ(find_restorable(scratch.path(), pool).checkpoint->path, newer);
  EXPECT_TRUE(find_restorable(scratch.path(), pool).skipped.empty());
  const CheckpointReader reader(newer);
  const ShardBox& box = reader.manifest().shards[1].boxes[3];
  flip(newer / shard_name(1, 2), box.file_offset + 5, 0x40);
  const Restored restored = find_restorable(scratch.path(), pool);
  ASSERT_TRUE(restored.checkpoint);
  EXPECT_EQ(restored.checkpoint->path, older);
  EXPECT_EQ(restored.checkpoint->weights_hash, CheckpointReader(older).manifest().weights_hash);
  ASSERT_EQ(restored.skipped.size(), 1U);
  EXPECT_EQ(restored.skipped[0].path, newer);
  EXPECT_THAT(restored.skipped[0].reason,
              testing::AllOf(HasSubstr(shard_name(1, 2)), HasSubstr("tensor " + box.full_name())));
  EXPECT_EQ(test::wrong_elements(older, {2, 1, 2, 0}, 7), 0);
}

}  // namespace
}  // namespace talaria::storage
