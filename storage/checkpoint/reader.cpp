// SPDX-License-Identifier: Apache-2.0
#include "storage/checkpoint/reader.h"

#include <algorithm>
#include <cstring>

#include <fcntl.h>
#include <unistd.h>

#include "cluster/base/file.h"

namespace talaria::storage {
namespace {

constexpr std::int64_t kElement = sizeof(float);
constexpr std::int64_t kBatchBytes = 4LL << 20;

// The common part of a stored box and a wanted one.
struct Copy {
  std::size_t shard;
  const ShardBox* from;
  const parallel::NamedBox* to;
  parallel::Box part;
};

class ShardFile {
 public:
  explicit ShardFile(std::filesystem::path path)
      : path_(std::move(path)), fd_(open_file(path_, O_RDONLY)) {}

  void copy(const Copy& job) {
    const bool whole_rows = job.part.extent[1] == job.from->box.extent[1];
    if (whole_rows && job.part.extent[1] == job.to->box.extent[1]) {
      read(source_offset(job, 0, 0), target(job, 0), job.part.count(), *job.from);
    } else if (2 * job.part.extent[1] >= job.from->box.extent[1]) {
      copy_through_rows(job);
    } else {
      for (std::int64_t row = 0; row < job.part.extent[0]; ++row) {
        read(source_offset(job, row, first_column(job)), target(job, row), job.part.extent[1],
             *job.from);
      }
    }
  }

 private:
  static std::int64_t first_column(const Copy& job) {
    return job.part.offset[1] - job.from->box.offset[1];
  }

  // Where in the file row `row` of the common part has column `column` of the stored box.
  static std::int64_t source_offset(const Copy& job, std::int64_t row, std::int64_t column) {
    const std::int64_t stored_row = job.part.offset[0] - job.from->box.offset[0] + row;
    return job.from->file_offset + (stored_row * job.from->box.extent[1] + column) * kElement;
  }

  static float* target(const Copy& job, std::int64_t row) {
    const std::int64_t to_row = job.part.offset[0] - job.to->box.offset[0] + row;
    const std::int64_t to_column = job.part.offset[1] - job.to->box.offset[1];
    return job.to->data + to_row * job.to->box.extent[1] + to_column;
  }

  // Reads whole stored rows in batches and picks the columns: fewer, larger reads.
  void copy_through_rows(const Copy& job) {
    const std::int64_t width = job.from->box.extent[1];
    const std::int64_t batch = std::max<std::int64_t>(1, kBatchBytes / (width * kElement));
    for (std::int64_t row = 0; row < job.part.extent[0]; row += batch) {
      const std::int64_t rows = std::min(batch, job.part.extent[0] - row);
      rows_.resize(static_cast<std::size_t>(rows * width));
      read(source_offset(job, row, 0), rows_.data(), rows * width, *job.from);
      for (std::int64_t r = 0; r < rows; ++r) {
        std::memcpy(target(job, row + r), rows_.data() + r * width + first_column(job),
                    static_cast<std::size_t>(job.part.extent[1] * kElement));
      }
    }
  }

  void read(std::int64_t offset, float* to, std::int64_t count, const ShardBox& box) const {
    auto bytes = std::as_writable_bytes(std::span(to, static_cast<std::size_t>(count)));
    while (!bytes.empty()) {
      const ssize_t got = ::pread(fd_.get(), bytes.data(), bytes.size(), offset);
      if (got < 0 && errno == EINTR) continue;
      check_sys(got, "pread", path_.string());
      if (got == 0)
        fail("{}: tensor {}: the file ends at byte {}", path_.string(), box.full_name(), offset);
      offset += got;
      bytes = bytes.subspan(static_cast<std::size_t>(got));
    }
  }

  std::filesystem::path path_;
  UniqueFd fd_;
  std::vector<float> rows_;
};

}  // namespace

CheckpointReader::CheckpointReader(std::filesystem::path dir) : dir_(std::move(dir)) {
  Result<Manifest> read = read_manifest(dir_);
  if (!read) fail("{}: {}", (dir_ / kManifestName).string(), read.error());
  manifest_ = std::move(read.value());
  for (std::size_t shard = 0; shard < manifest_.shards.size(); ++shard) {
    for (const ShardBox& box : manifest_.shards[shard].boxes) {
      stored_[box.full_name()].push_back({shard, &box});
    }
  }
}

const TensorRecord* CheckpointReader::find(const std::string& group,
                                           const std::string& tensor) const {
  for (const TensorRecord& record : manifest_.tensors) {
    if (record.group == group && record.name == tensor) return &record;
  }
  return nullptr;
}

std::string weights_group(const CheckpointReader& reader) {
  return reader.find(kAveragedGroup, "ln_f.weight") != nullptr ? kAveragedGroup : "param";
}

void CheckpointReader::read(const std::string& group,
                            std::span<const parallel::NamedBox> boxes) const {
  std::vector<Copy> copies;
  for (const parallel::NamedBox& wanted : boxes) {
    if (wanted.box.empty()) continue;
    const auto stored = stored_.find(group + "/" + wanted.tensor);
    if (stored == stored_.end()) {
      fail("{}: has no tensor {}/{}", dir_.string(), group, wanted.tensor);
    }
    std::int64_t covered = 0;
    for (const Stored& source : stored->second) {
      if (source.box->global != wanted.global || source.box->vector != wanted.vector) {
        fail("{}: tensor {} is [{}, {}], wanted is [{}, {}]", dir_.string(), stored->first,
             source.box->global[0], source.box->global[1], wanted.global[0], wanted.global[1]);
      }
      const auto part = intersect(source.box->box, wanted.box);
      if (!part) continue;
      covered += part->count();
      copies.push_back({source.shard, source.box, &wanted, *part});
    }
    if (covered != wanted.box.count()) {
      fail("{}: tensor {}: shards hold {} of the {} elements wanted", dir_.string(), stored->first,
           covered, wanted.box.count());
    }
  }
  std::sort(copies.begin(), copies.end(), [](const Copy& a, const Copy& b) {
    return std::pair(a.shard, a.from->file_offset) < std::pair(b.shard, b.from->file_offset);
  });
  for (std::size_t i = 0; i < copies.size();) {
    const std::size_t shard = copies[i].shard;
    ShardFile file(dir_ / manifest_.shards[shard].file);
    for (; i < copies.size() && copies[i].shard == shard; ++i) file.copy(copies[i]);
  }
}

}  // namespace talaria::storage
