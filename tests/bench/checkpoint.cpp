// SPDX-License-Identifier: Apache-2.0
// How fast a checkpoint is saved (durably), verified and restored, beside what the same file system
// gives to a plain program in the same run: buffered write + fsync, O_DIRECT write + fsync,
// H5Dwrite + fsync, and a plain read. All single-threaded, cold reads (pages dropped first).
#include "storage/checkpoint/checkpoint.h"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fcntl.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "storage/checkpoint/h5.h"
#include "storage/checkpoint/reader.h"
#include "storage/checkpoint/verify.h"

namespace talaria::storage {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string dir = ".";
  std::int64_t megabytes = 1024;
  int repeats = 3;
  bool as_json = false;
};

// A transformer-like set of matrices of `columns` columns, three groups of the same.
struct Model {
  std::vector<std::vector<float>> memory;
  std::vector<BoxGroup> groups;
  std::int64_t bytes = 0;
};

constexpr std::int64_t kColumns = 768;
constexpr int kTensors = 64;

Model make_model(std::int64_t megabytes) {
  Model model;
  const std::int64_t rows =
      std::max<std::int64_t>(1, megabytes * 1000000 / (3 * kTensors * kColumns * 4));
  for (const char* name : {"param", "adam_m", "adam_v"}) {
    BoxGroup group{name, {}};
    for (int t = 0; t < kTensors; ++t) {
      auto& values = model.memory.emplace_back(static_cast<std::size_t>(rows * kColumns));
      float x = 0.1F;
      for (float& value : values) value = x = 3.7F * x * (1.0F - x);  // bytes that do not compress
      group.boxes.push_back({fmt::format("blocks.{}.mlp.fc.weight", t),
                             {rows, kColumns},
                             false,
                             {{0, 0}, {rows, kColumns}},
                             values.data(),
                             kColumns / 4});
      model.bytes += rows * kColumns * 4;
    }
    model.groups.push_back(std::move(group));
  }
  return model;
}

template <class Visit>
void for_each_box(const Model& model, Visit&& visit) {
  for (const BoxGroup& group : model.groups) {
    for (const auto& box : group.boxes) {
      visit(group.group + "@" + box.tensor,
            std::as_bytes(std::span(box.data, static_cast<std::size_t>(box.box.count()))));
    }
  }
}

void drop_pages(const fs::path& path) {
  const UniqueFd fd = open_file(path, O_RDONLY);
  const int rc = ::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED);
  if (rc != 0) fail_errno("posix_fadvise", path.string(), rc);
}

void plain_write(const Model& model, const fs::path& path) {
  const UniqueFd fd = open_file(path, O_WRONLY | O_CREAT | O_TRUNC);
  for_each_box(model, [&](const std::string&, std::span<const std::byte> bytes) {
    write_all(fd.get(), bytes, path);
  });
  sync_file(fd.get(), path);
}

// The disk's own speed: one aligned buffer, again and again.
void direct_write(const Model& model, const fs::path& path) {
  { const UniqueFd fd = open_file(path, O_WRONLY | O_CREAT | O_TRUNC); }
  DirectWriter writer(path, {});
  const std::int64_t chunk = WriteOptions{}.chunk_bytes;
  for (std::int64_t offset = 0; offset < model.bytes; offset += chunk) {
    if (offset < 4 * chunk) {
      const auto buffer = writer.buffer();
      std::fill(buffer.begin(), buffer.end(), std::byte{0x5a});
    } else {
      writer.buffer();
    }
    writer.write(offset, chunk);
  }
  writer.finish();
}

void hdf5_write(const Model& model, const fs::path& path) {
  const H5Session session;
  const std::string name = path.string();
  H5File file(check_h5(H5Fcreate(name.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT),
                       "H5Fcreate", name));
  for_each_box(model, [&](const std::string& tensor, std::span<const std::byte> bytes) {
    const hsize_t dims[2] = {bytes.size() / (kColumns * 4), kColumns};
    const H5Space space(check_h5(H5Screate_simple(2, dims, nullptr), "H5Screate_simple", name));
    const H5Dataset dataset(check_h5(H5Dcreate2(file.get(), tensor.c_str(), H5T_IEEE_F32LE,
                                                space.get(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                                     "H5Dcreate", name));
    check_h5(H5Dwrite(dataset.get(), H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()),
             "H5Dwrite", name);
  });
  close_h5(std::move(file), name);
  sync_file(open_file(path, O_RDONLY).get(), path);
}

void plain_read(const fs::path& path) {
  const UniqueFd fd = open_file(path, O_RDONLY);
  std::vector<std::byte> buffer(std::size_t{4} << 20);
  while (check_sys(::read(fd.get(), buffer.data(), buffer.size()), "read", path.string()) > 0) {
  }
}

struct Row {
  std::string name;
  std::string limit;  // the row to compare with
  std::vector<double> speeds;

  double median() const {
    std::vector<double> sorted = speeds;
    std::sort(sorted.begin(), sorted.end());
    return sorted[sorted.size() / 2];
  }
};

class Bench {
 public:
  explicit Bench(const Options& options)
      : options_(options), model_(make_model(options.megabytes)) {
    std::string name = (fs::absolute(options.dir) / "bench-checkpoint-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) fail_errno("mkdtemp", name);
    folder_ = name;
  }
  ~Bench() {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  void run() {
    for (int i = 0; i < options_.repeats; ++i) round();
    print();
  }

 private:
  void measure(const char* name, const char* limit, const std::function<void()>& work) {
    const double start = monotonic_seconds();
    work();
    const double speed = static_cast<double>(model_.bytes) / 1e6 / (monotonic_seconds() - start);
    const auto known =
        std::find_if(rows_.begin(), rows_.end(), [&](const Row& row) { return row.name == name; });
    if (known == rows_.end()) {
      rows_.push_back({name, limit, {speed}});
    } else {
      known->speeds.push_back(speed);
    }
  }

  void round() {
    const fs::path file = folder_ / "plain";
    measure("write + fsync", "", [&] { plain_write(model_, file); });
    fs::remove(file);
    measure("O_DIRECT write + fsync", "", [&] { direct_write(model_, file); });
    fs::remove(file);
    measure("H5Dwrite + fsync", "O_DIRECT write + fsync", [&] { hdf5_write(model_, file); });
    drop_pages(file);
    measure("read", "", [&] { plain_read(file); });
    fs::remove(file);
    const CheckpointRef ref{folder_, 1, 1};
    measure("save", "O_DIRECT write + fsync", [&] {
      const fs::path temporary = begin_checkpoint(ref);
      const std::string record = write_shard(temporary, 0, 1, model_.groups);
      commit_checkpoint(ref, temporary, std::span(&record, 1), "{}");
    });
    const fs::path shard = ref.final_path() / shard_name(0, 1);
    ThreadPool pool(1);
    drop_pages(shard);
    measure("verify", "read", [&] {
      if (!verify_checkpoint(ref.final_path(), pool).ok()) fail("the checkpoint does not verify");
    });
    drop_pages(shard);
    measure("restore", "read", [&] {
      const CheckpointReader reader(ref.final_path());
      for (const BoxGroup& group : model_.groups) reader.read(group.group, group.boxes);
    });
    measure("verify, pages in memory", "read", [&] { verify_checkpoint(ref.final_path(), pool); });
    fs::remove_all(ref.final_path());
  }

  double ratio(const Row& row) const {
    const auto limit =
        std::find_if(rows_.begin(), rows_.end(), [&](const Row& r) { return r.name == row.limit; });
    return limit == rows_.end() ? 1.0 : row.median() / limit->median();
  }

  void print() const {
    std::string json;
    std::string table = fmt::format("{:.0f} MB, {} rounds, MB/s\n{:<26} {:>8} {:>8} {:>8}  {}\n",
                                    static_cast<double>(model_.bytes) / 1e6, options_.repeats, "",
                                    "median", "least", "most", "of the limit");
    for (const Row& row : rows_) {
      const auto [least, most] = std::minmax_element(row.speeds.begin(), row.speeds.end());
      table +=
          fmt::format("{:<26} {:>8.0f} {:>8.0f} {:>8.0f}", row.name, row.median(), *least, *most);
      table += row.limit.empty() ? "\n" : fmt::format("  {:.2f} of {}\n", ratio(row), row.limit);
      json += fmt::format(
          "{}{{\"name\":\"{}\",\"median\":{:.1f},\"least\":{:.1f},\"most\":{:.1f},\"limit\":\"{}\","
          "\"ratio\":{:.3f}}}",
          json.empty() ? "" : ",", row.name, row.median(), *least, *most, row.limit, ratio(row));
    }
    fmt::print(
        "{}",
        options_.as_json
            ? fmt::format(
                  "{{\"bench\":\"checkpoint\",\"bytes\":{},\"unit\":\"MB/s\",\"rows\":[{}]}}\n",
                  model_.bytes, json)
            : table);
  }

  Options options_;
  Model model_;
  fs::path folder_;
  std::vector<Row> rows_;
};

}  // namespace
}  // namespace talaria::storage

int main(int argc, char** argv) {
  talaria::storage::Options options;
  CLI::App app("Durable speed of checkpoints.");
  app.add_option("--dir", options.dir, "a folder on the file system to measure")
      ->check(CLI::ExistingDirectory);
  app.add_option("--megabytes", options.megabytes)->check(CLI::Range(1, 100000));
  app.add_option("--repeats", options.repeats)->check(CLI::Range(1, 100));
  app.add_flag("--json", options.as_json);
  CLI11_PARSE(app, argc, argv);
  try {
    talaria::storage::Bench(options).run();
  } catch (const talaria::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return talaria::kExitFailed;
  }
  return 0;
}
