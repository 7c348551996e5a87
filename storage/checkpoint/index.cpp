// SPDX-License-Identifier: Apache-2.0
#include "storage/checkpoint/index.h"

#include <limits>
#include <map>
#include <utility>

#include <fcntl.h>

#include "cluster/base/file.h"
#include "storage/checkpoint/h5.h"

namespace talaria::storage {
namespace {

constexpr const char* kNote =
    "Every dataset is virtual: its elements lie in the shard files beside this file. HDF5 reads "
    "NaN "
    "where a shard is missing or cannot be opened, also for lack of file descriptors (each dataset "
    "opens all of its shards at once: raise `ulimit -n` above the number of shards). NaN in a "
    "tensor "
    "is therefore never data to trust: `talaria-worker checkpoint verify` reads every byte, "
    "`talaria-worker checkpoint show --tensor NAME` needs few descriptors and fails instead.";

struct Source {
  const std::string* file;
  const ShardBox* box;
};

struct Extents {
  int ndim;
  hsize_t dims[2];
};

Extents extents(const parallel::Dims& dims, bool vector) {
  return {vector ? 1 : 2, {static_cast<hsize_t>(dims[0]), static_cast<hsize_t>(dims[1])}};
}

H5Space space_of(const parallel::Dims& dims, bool vector) {
  const Extents e = extents(dims, vector);
  return H5Space(
      check_h5(H5Screate_simple(e.ndim, e.dims, nullptr), "H5Screate_simple", kIndexName));
}

void map_source(hid_t properties, const TensorRecord& tensor, const Source& source) {
  const H5Space virtual_space = space_of(tensor.global, tensor.vector);
  const Extents start = extents(source.box->box.offset, tensor.vector);
  const Extents count = extents(source.box->box.extent, tensor.vector);
  check_h5(H5Sselect_hyperslab(virtual_space.get(), H5S_SELECT_SET, start.dims, nullptr, count.dims,
                               nullptr),
           "H5Sselect_hyperslab", tensor.full_name());
  const H5Space source_space = space_of(source.box->box.extent, tensor.vector);
  check_h5(H5Pset_virtual(properties, virtual_space.get(), source.file->c_str(),
                          source.box->dataset.c_str(), source_space.get()),
           "H5Pset_virtual", tensor.full_name());
}

void add_tensor(hid_t group, const TensorRecord& tensor, const std::vector<Source>& sources) {
  const std::string name = tensor.full_name();
  const H5Plist properties = timeless(H5P_DATASET_CREATE);
  const float nothing = std::numeric_limits<float>::quiet_NaN();
  check_h5(H5Pset_fill_value(properties.get(), H5T_NATIVE_FLOAT, &nothing), "H5Pset_fill_value",
           name);
  for (const Source& source : sources) map_source(properties.get(), tensor, source);
  const H5Space space = space_of(tensor.global, tensor.vector);
  const H5Dataset dataset(
      check_h5(H5Dcreate2(group, tensor.name.c_str(), H5T_IEEE_F32LE, space.get(), H5P_DEFAULT,
                          properties.get(), H5P_DEFAULT),
               "H5Dcreate", name));
  write_text_attribute(dataset.get(), "xxh3_128", tensor.hash.hex(), name);
  write_text_attribute(dataset.get(), "shards", fmt::format("{}", sources.size()), name);
}

H5File create_index(const std::string& path) {
  const H5Plist access(check_h5(H5Pcreate(H5P_FILE_ACCESS), "H5Pcreate", path));
  check_h5(H5Pset_libver_bounds(access.get(), H5F_LIBVER_V18, H5F_LIBVER_V110),
           "H5Pset_libver_bounds", path);
  const H5Plist creation = timeless(H5P_FILE_CREATE);
  return H5File(check_h5(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation.get(), access.get()),
                         "H5Fcreate", path));
}

// HDF5 must open the file again and find every tensor with all its sources.
void check_index(const std::string& path, std::span<const TensorRecord> tensors,
                 const std::map<std::string, std::vector<Source>>& sources) {
  const H5Session session;
  const H5File file(check_h5(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), "H5Fopen", path));
  for (const TensorRecord& tensor : tensors) {
    const std::string name = tensor.full_name();
    const H5Dataset dataset(
        check_h5(H5Dopen2(file.get(), name.c_str(), H5P_DEFAULT), "H5Dopen", name));
    const H5Plist creation(
        check_h5(H5Dget_create_plist(dataset.get()), "H5Dget_create_plist", name));
    std::size_t count = 0;
    check_h5(H5Pget_virtual_count(creation.get(), &count), "H5Pget_virtual_count", name);
    if (count != sources.at(name).size()) fail("{}: {}: {} sources", kIndexName, name, count);
  }
}

void make_index(const std::string& path, std::span<const TensorRecord> tensors,
                const std::map<std::string, std::vector<Source>>& sources) {
  const H5Session session;
  H5File file = create_index(path);
  write_text_attribute(file.get(), "note", kNote, path);
  std::map<std::string, H5Group> groups;
  for (const TensorRecord& tensor : tensors) {
    H5Group& group = groups[tensor.group];
    if (!group) group = create_group(file, tensor.group, path);
    add_tensor(group.get(), tensor, sources.at(tensor.full_name()));
  }
  groups.clear();
  check_h5(H5Fflush(file.get(), H5F_SCOPE_GLOBAL), "H5Fflush", path);
  close_h5(std::move(file), path);
}

}  // namespace

FileRecord write_index(const std::filesystem::path& path, std::span<const TensorRecord> tensors,
                       std::span<const ShardRecord> shards) {
  std::map<std::string, std::vector<Source>> sources;
  std::int64_t estimate = 4096;
  for (const ShardRecord& shard : shards) {
    for (const ShardBox& box : shard.boxes) {
      sources[box.full_name()].push_back({&shard.file, &box});
      estimate += 256;
    }
  }
  or_disk_full(path, estimate, [&] { make_index(path.string(), tensors, sources); });
  sync_file(open_file(path, O_RDONLY).get(), path);
  check_index(path.string(), tensors, sources);
  const std::string bytes = read_file(path);
  return {path.filename().string(), static_cast<std::int64_t>(bytes.size()),
          bytes_hash(std::as_bytes(std::span(bytes)))};
}

std::string hdf5_version() {
  const H5Session session;
  unsigned major = 0;
  unsigned minor = 0;
  unsigned release = 0;
  check_h5(H5get_libversion(&major, &minor, &release), "H5get_libversion", "");
  return fmt::format("{}.{}.{}", major, minor, release);
}

}  // namespace talaria::storage
