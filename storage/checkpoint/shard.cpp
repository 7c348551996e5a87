// SPDX-License-Identifier: Apache-2.0
// Writes one rank's shard. HDF5 only lays the file out (early-allocated contiguous datasets, no
// data); then the whole file, HDF5's metadata included, goes out in file order as aligned chunks,
// and each chunk is hashed on its way. At last HDF5 must find every dataset where the record says
// it lies.
#include <algorithm>
#include <cstring>
#include <exception>
#include <set>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster/base/file.h"
#include "storage/checkpoint/checkpoint.h"
#include "storage/checkpoint/crash_point.h"
#include "storage/checkpoint/h5.h"

namespace talaria::storage {
namespace {

// Bytes are copied and hashed twice (for tensor and file) while they are in the L2 cache.
constexpr std::int64_t kCacheBytes = 128 << 10;

// What goes where: a box of the record and the memory that holds it.
struct Piece {
  ShardBox box;  // its hash grows as rows are copied
  parallel::NamedBox memory;
  std::int64_t hashed_rows = 0;
};

void check_name(const std::string& name) {
  const bool good = !name.empty() && name.size() < 256 && name.front() != '.' &&
                    std::all_of(name.begin(), name.end(), [](unsigned char c) {
                      return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-';
                    });
  if (!good) fail("tensor name \"{}\": letters, digits, \".\", \"_\" and \"-\" are allowed", name);
}

Piece make_piece(const std::string& group, const parallel::NamedBox& box) {
  check_name(group);
  check_name(box.tensor);
  for (std::size_t d = 0; d < 2; ++d) {
    if (box.box.offset[d] < 0 || box.box.extent[d] > box.global[d] - box.box.offset[d]) {
      fail("tensor {}/{}: a box lies outside of [{}, {}]", group, box.tensor, box.global[0],
           box.global[1]);
    }
  }
  if (box.vector && box.global[1] != 1)
    fail("tensor {}/{}: a vector has one column", group, box.tensor);
  Piece piece;
  piece.memory = box;
  check_hash_blocks(box, hash_columns_of(box));
  piece.box = {group,
               box.tensor,
               box.global,
               box.vector,
               hash_columns_of(box),
               box.box,
               fmt::format("/{}/{}@{},{}", group, box.tensor, box.box.offset[0], box.box.offset[1]),
               0,
               {}};
  checked_product(checked_product(box.global[0], box.global[1], "tensor size"), 4, "tensor bytes");
  return piece;
}

std::vector<Piece> make_pieces(std::span<const BoxGroup> groups) {
  std::vector<Piece> pieces;
  for (const BoxGroup& group : groups) {
    for (const parallel::NamedBox& box : group.boxes) {
      if (!box.box.empty()) pieces.push_back(make_piece(group.group, box));
    }
  }
  return pieces;
}

std::int64_t data_bytes(const std::vector<Piece>& pieces) {
  std::int64_t sum = 0;
  for (const Piece& piece : pieces) sum += piece.box.bytes();
  return sum;
}

H5File create_file(const std::string& path) {
  const H5Plist access(check_h5(H5Pcreate(H5P_FILE_ACCESS), "H5Pcreate", path));
  // Datasets of a page or more start on a page; smaller objects lie packed.
  check_h5(H5Pset_alignment(access.get(), kWriteAlignment, kWriteAlignment), "H5Pset_alignment",
           path);
  check_h5(H5Pset_libver_bounds(access.get(), H5F_LIBVER_V18, H5F_LIBVER_V110),
           "H5Pset_libver_bounds", path);
  const H5Plist creation = timeless(H5P_FILE_CREATE);
  return H5File(check_h5(H5Fcreate(path.c_str(), H5F_ACC_EXCL, creation.get(), access.get()),
                         "H5Fcreate", path));
}

std::set<std::string> group_names(const std::vector<Piece>& pieces) {
  std::set<std::string> names;
  for (const Piece& piece : pieces) names.insert(piece.box.group);
  return names;
}

void create_dataset(const H5File& file, hid_t creation, Piece& piece, const std::string& path) {
  const ShardBox& box = piece.box;
  const hsize_t dims[2] = {static_cast<hsize_t>(box.box.extent[0]),
                           static_cast<hsize_t>(box.box.extent[1])};
  const H5Space space(
      check_h5(H5Screate_simple(box.vector ? 1 : 2, dims, nullptr), "H5Screate_simple", path));
  const H5Dataset dataset(check_h5(H5Dcreate2(file.get(), box.dataset.c_str(), H5T_IEEE_F32LE,
                                              space.get(), H5P_DEFAULT, creation, H5P_DEFAULT),
                                   "H5Dcreate", path));
  const haddr_t offset = H5Dget_offset(dataset.get());
  if (offset == HADDR_UNDEF) fail_h5("H5Dget_offset", path);
  piece.box.file_offset = static_cast<std::int64_t>(offset);
}

// Lays the file out: fills in file_offset and sorts the pieces by it.
void lay_out(const std::string& path, std::vector<Piece>& pieces) {
  const H5Session session;
  H5File file = create_file(path);
  const H5Plist creation = timeless(H5P_DATASET_CREATE);
  check_h5(H5Pset_layout(creation.get(), H5D_CONTIGUOUS), "H5Pset_layout", path);
  check_h5(H5Pset_alloc_time(creation.get(), H5D_ALLOC_TIME_EARLY), "H5Pset_alloc_time", path);
  check_h5(H5Pset_fill_time(creation.get(), H5D_FILL_TIME_NEVER), "H5Pset_fill_time", path);
  for (const std::string& group : group_names(pieces)) create_group(file, group, path);
  for (Piece& piece : pieces) create_dataset(file, creation.get(), piece, path);
  check_h5(H5Fflush(file.get(), H5F_SCOPE_GLOBAL), "H5Fflush", path);
  close_h5(std::move(file), path);
  std::sort(pieces.begin(), pieces.end(),
            [](const Piece& a, const Piece& b) { return a.box.file_offset < b.box.file_offset; });
}

// HDF5, reading what is on disk now, must agree with the record.
void check_layout(const std::string& path, const std::vector<Piece>& pieces) {
  const H5Session session;
  const H5File file(check_h5(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), "H5Fopen", path));
  for (const Piece& piece : pieces) {
    const std::string where = path + ":" + piece.box.dataset;
    const H5Dataset dataset(
        check_h5(H5Dopen2(file.get(), piece.box.dataset.c_str(), H5P_DEFAULT), "H5Dopen", where));
    const haddr_t offset = H5Dget_offset(dataset.get());
    if (offset != static_cast<haddr_t>(piece.box.file_offset)) {
      fail("{}: HDF5 reads it at byte {}, it was written at {}", where, offset,
           piece.box.file_offset);
    }
  }
}

// Gives the file's bytes in order: data from the pieces, all others from the file as laid out.
// Hashes a piece's rows when it has just copied them.
class ChunkSource {
 public:
  ChunkSource(const std::filesystem::path& path, std::vector<Piece>& pieces)
      : path_(path), pieces_(pieces), fd_(open_file(path, O_RDONLY)) {}

  // Fills `chunk` with the bytes from `offset` on; offsets ascend from call to call.
  void fill(std::int64_t offset, std::span<std::byte> chunk) {
    while (!chunk.empty()) {
      while (next_ < pieces_.size() && end_of(pieces_[next_]) <= offset) ++next_;
      std::int64_t take = static_cast<std::int64_t>(chunk.size());
      if (next_ == pieces_.size() || pieces_[next_].box.file_offset > offset) {
        if (next_ < pieces_.size()) take = std::min(take, pieces_[next_].box.file_offset - offset);
        read_gap(offset, chunk.first(static_cast<std::size_t>(take)));
      } else {
        Piece& piece = pieces_[next_];
        const std::int64_t done = offset - piece.box.file_offset;
        take = std::min(take, end_of(piece) - offset);
        std::memcpy(chunk.data(), reinterpret_cast<const std::byte*>(piece.memory.data) + done,
                    static_cast<std::size_t>(take));
        hash_rows(piece, done + take);
      }
      offset += take;
      chunk = chunk.subspan(static_cast<std::size_t>(take));
    }
  }

 private:
  static std::int64_t end_of(const Piece& piece) {
    return piece.box.file_offset + piece.box.bytes();
  }

  // Adds the whole rows among the piece's first `bytes` to its hash.
  static void hash_rows(Piece& piece, std::int64_t bytes) {
    const parallel::Box& box = piece.box.box;
    const std::int64_t rows = bytes / (box.extent[1] * std::int64_t{sizeof(float)});
    parallel::NamedBox& part = piece.memory;
    part.box.offset[0] = box.offset[0] + piece.hashed_rows;
    part.box.extent[0] = rows - piece.hashed_rows;
    float* const first = part.data;
    part.data = first + piece.hashed_rows * box.extent[1];
    piece.box.hash += box_hash(part, piece.box.hash_columns);
    part.data = first;
    piece.hashed_rows = rows;
  }

  void read_gap(std::int64_t offset, std::span<std::byte> bytes) const {
    while (!bytes.empty()) {
      const ssize_t got = ::pread(fd_.get(), bytes.data(), bytes.size(), offset);
      if (got < 0 && errno == EINTR) continue;
      check_sys(got, "pread", path_.string());
      if (got == 0) fail("{}: ends at byte {} while it is written", path_.string(), offset);
      offset += got;
      bytes = bytes.subspan(static_cast<std::size_t>(got));
    }
  }

  std::filesystem::path path_;
  std::vector<Piece>& pieces_;
  UniqueFd fd_;
  std::size_t next_ = 0;
};

std::int64_t round_up(std::int64_t bytes) {
  return (bytes + kWriteAlignment - 1) / kWriteAlignment * kWriteAlignment;
}

// Reserves the whole file and returns its size, a multiple of kWriteAlignment.
std::int64_t reserve(const std::filesystem::path& path, const std::vector<Piece>& pieces) {
  const UniqueFd fd = open_file(path, O_WRONLY);
  struct stat info {};
  check_sys(::fstat(fd.get(), &info), "fstat", path.string());
  std::int64_t size = info.st_size;
  if (!pieces.empty()) {
    size = std::max(size, pieces.back().box.file_offset + pieces.back().box.bytes());
  }
  size = round_up(size);
  preallocate(fd.get(), size, path);
  return size;
}

void write_bytes(const std::filesystem::path& path, std::vector<Piece>& pieces,
                 const WriteOptions& options, ShardRecord& record) {
  record.size = reserve(path, pieces);
  ChunkSource source(path, pieces);
  DirectWriter writer(path, options);
  StreamHash hash;
  // At least two chunks, so that "half written" is a place in every file.
  const std::int64_t step = std::min(options.chunk_bytes, round_up(record.size / 2));
  for (std::int64_t offset = 0; offset < record.size;) {
    const std::int64_t bytes = std::min(step, record.size - offset);
    const auto chunk = writer.buffer().first(static_cast<std::size_t>(bytes));
    for (std::int64_t done = 0; done < bytes; done += kCacheBytes) {
      const auto part = chunk.subspan(static_cast<std::size_t>(done));
      const auto piece = part.first(std::min(part.size(), std::size_t{kCacheBytes}));
      source.fill(offset + done, piece);
      hash.update(piece);
    }
    writer.write(offset, bytes);
    const std::int64_t half = (record.size - 1) / 2;
    if (offset <= half && half < offset + bytes) crash_point("shard.half_written");
    offset += bytes;
  }
  writer.finish();
  record.hash = hash.digest();
}

ShardRecord write_file(const std::filesystem::path& path, std::vector<Piece>& pieces,
                       const WriteOptions& options) {
  ShardRecord record;
  record.file = path.filename().string();
  or_disk_full(path, data_bytes(pieces), [&] { lay_out(path.string(), pieces); });
  crash_point("shard.created");
  write_bytes(path, pieces, options, record);
  crash_point("shard.synced");
  check_layout(path.string(), pieces);
  for (Piece& piece : pieces) record.boxes.push_back(std::move(piece.box));
  return record;
}

}  // namespace

std::string shard_name(int rank, int world) {
  return fmt::format("shard-{:05d}-of-{:05d}.h5", rank, world);
}

std::string write_shard(const std::filesystem::path& temporary, int rank, int world,
                        std::span<const BoxGroup> groups, const WriteOptions& options) {
  std::vector<Piece> pieces = make_pieces(groups);
  const std::filesystem::path path = temporary / shard_name(rank, world);
  std::error_code ignored;  // the reason to throw is the first failure
  try {
    ShardRecord record = write_file(path, pieces, options);
    record.rank = rank;
    record.world = world;
    return to_json_line(record);
  } catch (const DiskFull&) {
    std::filesystem::remove_all(temporary, ignored);
    throw;
  } catch (...) {
    std::filesystem::remove(path, ignored);
    // Not this rank's fault, and its own reason (no such folder) would hide the remedy.
    if (!std::filesystem::exists(temporary, ignored)) {
      fail(
          "{}: another rank has given this checkpoint up, which a full disk does; that rank's log "
          "says why. Free space there, or set another run directory (--run-dir); older checkpoints "
          "are intact",
          temporary.string());
    }
    throw;
  }
}

}  // namespace talaria::storage
