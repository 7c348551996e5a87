// SPDX-License-Identifier: Apache-2.0
// The life of checkpoint folders: begin, commit, list, prune. A folder is a checkpoint only under
// its final name and with a manifest, which is the last file written; every other name begins with
// "tmp-" and may be removed by a later attempt.
#include <algorithm>
#include <cstdio>
#include <map>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster/base/file.h"
#include "storage/checkpoint/checkpoint.h"
#include "storage/checkpoint/crash_point.h"
#include "storage/checkpoint/fence.h"
#include "storage/checkpoint/index.h"
#include "storage/checkpoint/verify.h"

namespace talaria::storage {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTemporary = "tmp-step-";
constexpr const char* kRemoved = "tmp-removed-";

std::string temporary_name(const CheckpointRef& ref) {
  return fmt::format("tmp-{}-attempt-{:03d}", step_name(ref.step), ref.attempt);
}

// The attempt in a name that temporary_name() made, or -1.
int attempt_of(const std::string& name) {
  long long step = 0;
  int attempt = 0;
  if (std::sscanf(name.c_str(), "tmp-step-%lld-attempt-%d", &step, &attempt) != 2) return -1;
  return attempt;
}

void remove_stale(const CheckpointRef& ref) {
  std::vector<fs::path> stale;
  for (const fs::path& path : folder_entries(ref.root)) {
    const std::string name = path.filename().string();
    const int attempt = name.starts_with(kTemporary) ? attempt_of(name) : -1;
    if (name.starts_with(kRemoved) || (attempt >= 0 && attempt <= ref.attempt)) {
      stale.push_back(path);
    }
  }
  for (const fs::path& path : stale) remove_tree(path);
}

void make_folder(const fs::path& path) {
  if (::mkdir(path.c_str(), 0755) != 0) fail_write("mkdir", path, 0, errno);
}

// The name under which a folder waits for its removal, free of any older one.
fs::path removal_name(const fs::path& dir) {
  fs::path path = dir.parent_path() / (kRemoved + dir.filename().string());
  remove_tree(path);
  return path;
}

// Puts `from` in the place of `to`, which exists, without a moment in which neither is there.
void replace_folder(const fs::path& from, const fs::path& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) return;
  if (errno != EINVAL && errno != ENOSYS) {
    fail_errno("renameat2", from.string() + " with " + to.string());
  }
  const fs::path old = removal_name(to);
  rename_path(to, old);
  rename_path(from, to);
  rename_path(old, from);
}

std::vector<ShardRecord> parse_records(std::span<const std::string> lines) {
  std::vector<ShardRecord> shards;
  for (const std::string& line : lines) shards.push_back(parse_shard_record(line));
  std::sort(shards.begin(), shards.end(),
            [](const ShardRecord& a, const ShardRecord& b) { return a.rank < b.rank; });
  return shards;
}

// Catches a shared folder that is not shared, or a rank that wrote elsewhere.
void check_files(const fs::path& temporary, std::span<const ShardRecord> shards) {
  for (const ShardRecord& shard : shards) {
    struct stat info {};
    const fs::path path = temporary / shard.file;
    check_sys(::stat(path.c_str(), &info), "stat", path.string());
    if (info.st_size != shard.size) {
      fail("{}: {} bytes, its rank wrote {}", path.string(), info.st_size, shard.size);
    }
  }
}

void fill_and_rename(const CheckpointRef& ref, const fs::path& temporary,
                     std::span<const std::string> shard_records, const std::string& meta_json) {
  Manifest manifest;
  manifest.step = ref.step;
  manifest.attempt = ref.attempt;
  manifest.world = static_cast<int>(shard_records.size());
  manifest.hdf5_version = hdf5_version();
  manifest.meta_json = meta_json;
  manifest.shards = parse_records(shard_records);
  manifest.tensors = join_tensors(manifest.shards);
  manifest.weights_hash = weights_hash(manifest.tensors);
  check_files(temporary, manifest.shards);
  manifest.index = write_index(temporary / kIndexName, manifest.tensors, manifest.shards);
  crash_point("index.written");
  const std::string text = to_text(manifest);
  write_new_file(temporary / kManifestName, std::as_bytes(std::span(text)));
  crash_point("manifest.written");
  sync_directory(temporary);
  const FencePass pass(ref.root, ref.attempt, "commit");
  crash_point("before_rename");
  const fs::path final_path = ref.final_path();
  std::error_code error;
  if (fs::symlink_status(final_path, error).type() == fs::file_type::not_found) {
    rename_path(temporary, final_path);
  } else {
    replace_folder(temporary, final_path);
  }
  sync_directory(ref.root);
  crash_point("after_rename");
}

}  // namespace

std::filesystem::path begin_checkpoint(const CheckpointRef& ref) {
  TALARIA_CHECK(ref.step >= 0 && ref.attempt >= 0, "step {} attempt {}", ref.step, ref.attempt);
  std::error_code error;
  fs::create_directories(ref.root, error);
  if (error) fail_write("mkdir", ref.root, 0, error.value());
  sync_directory(ref.root.parent_path());
  const FencePass pass(ref.root, ref.attempt, "begin a checkpoint");
  remove_stale(ref);
  fs::path temporary = ref.root / temporary_name(ref);
  make_folder(temporary);
  crash_point("checkpoint.begun");
  return temporary;
}

void commit_checkpoint(const CheckpointRef& ref, const std::filesystem::path& temporary,
                       std::span<const std::string> shard_records, const std::string& meta_json) {
  try {
    fill_and_rename(ref, temporary, shard_records, meta_json);
  } catch (...) {
    std::error_code ignored;  // the reason to throw is the first failure
    fs::remove_all(temporary, ignored);
    throw;
  }
  remove_tree(temporary);  // after an exchange: the checkpoint that was replaced
}

std::vector<CheckpointInfo> list_checkpoints(const std::filesystem::path& root) {
  std::vector<CheckpointInfo> found;
  for (const fs::path& dir : step_folders(root)) {
    const Result<Manifest> result = read_manifest(dir);
    if (!result) continue;
    const Manifest& manifest = result.value();
    found.push_back({dir, manifest.step, manifest.attempt, manifest.world, manifest.bytes(),
                     manifest.weights_hash});
  }
  return found;
}

std::vector<std::filesystem::path> prune_checkpoints(const std::filesystem::path& root,
                                                     std::int64_t keep, ThreadPool& pool,
                                                     std::int64_t also) {
  TALARIA_CHECK(keep >= 1, "keep {}", keep);
  crash_point("before_prune");
  const std::vector<CheckpointInfo> all = list_checkpoints(root);
  const auto kept = static_cast<std::size_t>(keep);
  if (all.size() <= kept) return {};
  std::size_t newest_good = 0;
  while (newest_good < all.size() && !verify_checkpoint(all[newest_good].path, pool).ok()) {
    ++newest_good;
  }
  std::vector<fs::path> removed;
  for (std::size_t i = kept; i < all.size(); ++i) {
    if (i == newest_good || all[i].step == also) continue;
    const fs::path doomed = removal_name(all[i].path);
    rename_path(all[i].path, doomed);
    sync_directory(root);
    crash_point("prune.renamed");
    remove_tree(doomed);
    removed.push_back(all[i].path);
  }
  return removed;
}

std::string weights_hash(std::span<const TensorRecord> tensors) {
  std::map<std::string, TensorHash> params;
  for (const TensorRecord& tensor : tensors) {
    if (tensor.group == "param") params[tensor.name] = tensor.hash;
  }
  return weights_hash(params);
}

}  // namespace talaria::storage
