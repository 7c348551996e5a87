// SPDX-License-Identifier: Apache-2.0
#include "storage/checkpoint/verify.h"

#include <algorithm>
#include <set>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster/base/file.h"

namespace talaria::storage {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kReadBytes = 4LL << 20;

// A file that is damaged is expected here; a machine that cannot read is not.
bool is_damage(int error) {
  return error == ENOENT || error == EIO || error == EISDIR || error == ENOTDIR || error == ELOOP;
}

// Reads until `bytes` is full or the file ends; fewer bytes at EIO too, with `error` set.
std::size_t read_at(int fd, std::int64_t offset, std::span<std::byte> bytes, const fs::path& path,
                    int& error) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got = ::pread(fd, bytes.data() + done, bytes.size() - done,
                                offset + static_cast<std::int64_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      error = errno;
      if (!is_damage(error)) fail_errno("read", path.string(), error);
      return done;
    }
    if (got == 0) return done;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

// One file of the checkpoint under examination.
class FileCheck {
 public:
  FileCheck(fs::path path, const FileRecord& record, std::span<const ShardBox> boxes)
      : path_(std::move(path)), record_(record), boxes_(boxes) {}

  std::vector<Damage> run() {
    fd_.reset(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!fd_) {
      if (!is_damage(errno)) fail_errno("open", path_.string());
      add("",
          errno == ENOENT ? "missing" : describe_errno("open", path_.filename().string(), errno));
      return std::move(damages_);
    }
    struct stat info {};
    check_sys(::fstat(fd_.get(), &info), "fstat", path_.string());
    if (!S_ISREG(info.st_mode)) {
      add("", "not a regular file");
      return std::move(damages_);
    }
    buffer_.resize(static_cast<std::size_t>(kReadBytes));
    if (info.st_size == record_.size && whole_hash_matches()) return {};
    find_tensors();
    if (info.st_size != record_.size) {
      add("", fmt::format("{} bytes, the manifest says {}", info.st_size, record_.size));
    } else if (damages_.empty()) {
      add("", boxes_.empty() ? "bytes differ from what was written"
                             : "bytes differ outside of every tensor (HDF5 metadata or padding)");
    }
    return std::move(damages_);
  }

 private:
  void add(std::string tensor, std::string what) {
    if (error_ != 0)
      what += fmt::format("; {}", describe_errno("read", path_.filename().string(), error_));
    damages_.push_back({path_, std::move(tensor), std::move(what)});
  }

  bool whole_hash_matches() {
    StreamHash hash;
    for (std::int64_t offset = 0; offset < record_.size;) {
      const auto want = static_cast<std::size_t>(std::min(kReadBytes, record_.size - offset));
      const std::size_t got =
          read_at(fd_.get(), offset, std::span(buffer_).first(want), path_, error_);
      if (got != want) return false;
      hash.update(std::span(buffer_).first(got));
      offset += static_cast<std::int64_t>(got);
    }
    return hash.digest() == record_.hash;
  }

  void find_tensors() {
    for (const ShardBox& box : boxes_) {
      const std::string where = fmt::format(
          "rows {} .. {}, columns {} .. {}, bytes {} .. {} of the file", box.box.offset[0],
          box.box.offset[0] + box.box.extent[0], box.box.offset[1],
          box.box.offset[1] + box.box.extent[1], box.file_offset, box.file_offset + box.bytes());
      const auto hash = hash_of(box);
      if (!hash) {
        add(box.full_name(), "cut off or unreadable: " + where);
      } else if (*hash != box.hash) {
        add(box.full_name(), "bytes differ from what was written: " + where);
      }
    }
  }

  // The box's hash as the file has it now, by batches of rows; nothing when bytes are missing.
  std::optional<TensorHash> hash_of(const ShardBox& box) {
    const std::int64_t row_bytes = box.box.extent[1] * std::int64_t{sizeof(float)};
    const std::int64_t batch = std::max<std::int64_t>(1, kReadBytes / row_bytes);
    parallel::NamedBox part{box.tensor, box.global, box.vector, box.box, nullptr, box.hash_columns};
    TensorHash sum;
    for (std::int64_t row = 0; row < box.box.extent[0]; row += batch) {
      const std::int64_t rows = std::min(batch, box.box.extent[0] - row);
      rows_.resize(static_cast<std::size_t>(rows * box.box.extent[1]));
      const auto bytes = std::as_writable_bytes(std::span(rows_));
      const std::int64_t offset = box.file_offset + row * row_bytes;
      if (read_at(fd_.get(), offset, bytes, path_, error_) != bytes.size()) return std::nullopt;
      part.box.offset[0] = box.box.offset[0] + row;
      part.box.extent[0] = rows;
      part.data = rows_.data();
      sum += box_hash(part, box.hash_columns);
    }
    return sum;
  }

  fs::path path_;
  const FileRecord& record_;
  std::span<const ShardBox> boxes_;
  UniqueFd fd_;
  std::vector<std::byte> buffer_;
  std::vector<float> rows_;
  std::vector<Damage> damages_;
  int error_ = 0;
};

std::vector<std::string> extra_files(const fs::path& dir, const Manifest& manifest) {
  std::set<std::string> known = {kManifestName, manifest.index.file};
  for (const ShardRecord& shard : manifest.shards) known.insert(shard.file);
  std::vector<std::string> extra;
  for (const fs::path& path : folder_entries(dir)) {
    if (!known.contains(path.filename().string())) extra.push_back(path.filename().string());
  }
  return extra;
}

}  // namespace

std::string Damage::message() const {
  if (tensor.empty()) return fmt::format("{}: {}", file.string(), what);
  return fmt::format("{}: tensor {}: {}", file.string(), tensor, what);
}

VerifyReport verify_checkpoint(const std::filesystem::path& dir, ThreadPool& pool) {
  VerifyReport report;
  report.dir = dir;
  const Result<Manifest> read = read_manifest(dir);
  if (!read) {
    report.damages.push_back({dir / kManifestName, "", read.error()});
    return report;
  }
  const Manifest& manifest = read.value();
  const auto shards = static_cast<std::int64_t>(manifest.shards.size());
  std::vector<std::vector<Damage>> found(manifest.shards.size() + 1);
  pool.run(shards + 1, [&](std::int64_t unit, int) {
    const bool is_index = unit == shards;
    const auto at = static_cast<std::size_t>(unit);
    const FileRecord& record = is_index ? manifest.index : manifest.shards[at];
    std::span<const ShardBox> boxes;
    if (!is_index) boxes = manifest.shards[at].boxes;
    found[at] = FileCheck(dir / record.file, record, boxes).run();
  });
  for (std::size_t i = 0; i < found.size(); ++i) {
    ++report.files;
    if (found[i].empty()) {
      report.bytes += i < manifest.shards.size() ? manifest.shards[i].size : manifest.index.size;
    }
    report.damages.insert(report.damages.end(), found[i].begin(), found[i].end());
  }
  report.extra_files = extra_files(dir, manifest);
  return report;
}

std::vector<std::filesystem::path> step_folders(const std::filesystem::path& root) {
  std::vector<std::pair<std::int64_t, fs::path>> found;
  for (const fs::path& path : folder_entries(root)) {
    const std::int64_t step = parse_step_name(path.filename().string());
    std::error_code error;
    if (step >= 0 && fs::is_directory(path, error)) found.emplace_back(step, path);
  }
  std::sort(found.rbegin(), found.rend());
  std::vector<fs::path> folders;
  folders.reserve(found.size());
  for (auto& [step, path] : found) folders.push_back(std::move(path));
  return folders;
}

Restored find_restorable(const std::filesystem::path& root, ThreadPool& pool) {
  Restored restored;
  for (const fs::path& dir : step_folders(root)) {
    const VerifyReport report = verify_checkpoint(dir, pool);
    if (!report.ok()) {
      std::string reason = report.damages.front().message();
      const std::size_t others = report.damages.size() - 1;
      if (others > 0) reason += fmt::format(" (and {} more)", others);
      restored.skipped.push_back({dir, std::move(reason)});
      continue;
    }
    const Result<Manifest> read = read_manifest(dir);
    if (!read) fail("{}: {}", (dir / kManifestName).string(), read.error());
    const Manifest& manifest = read.value();
    restored.checkpoint = CheckpointInfo{dir,
                                         manifest.step,
                                         manifest.attempt,
                                         manifest.world,
                                         manifest.bytes(),
                                         manifest.weights_hash};
    break;
  }
  return restored;
}

}  // namespace talaria::storage
