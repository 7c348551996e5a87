// SPDX-License-Identifier: Apache-2.0
// All-reduce of floats over each transport, for 2, 4 and 8 ranks, beside Open MPI's own
// MPI_Allreduce and beside memcpy (each rank copies as many bytes, all at once) in the same run.
//   mpirun -n 8 --oversubscribe --bind-to none bench_collectives [--json] [--max-bytes N]
// GB/s is the payload of one rank over the median time of rank 0; the ratio is to memcpy.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/core.h>
#include <unistd.h>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "parallel/comm/mpi_handles.h"
#include "parallel/comm/process.h"

namespace talaria::parallel {
namespace {

struct Size {
  std::int64_t bytes;
  int repeats;
};
constexpr Size kSizes[] = {{4, 400}, {65536, 100}, {1 << 20, 30}, {16 << 20, 8}};

struct Row {
  int ranks = 0;
  std::string transport;
  std::int64_t bytes = 0;
  double median = 0;  // seconds
  double low = 0;     // 10th percentile
  double high = 0;    // 90th
  double memcpy_seconds = 0;

  double rate() const { return static_cast<double>(bytes) / median * 1e-9; }
  double ratio() const { return memcpy_seconds / median; }
};

struct Arguments {
  bool json = false;
  std::int64_t max_bytes = 16 << 20;
};

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--json") {
      arguments.json = true;
    } else if (word == "--max-bytes" && i + 1 < argc) {
      arguments.max_bytes = std::atoll(argv[++i]);
    } else {
      fail_usage("{}: allowed are --json and --max-bytes N", word);
    }
  }
  return arguments;
}

// Seconds of each repeat of `call`, all ranks starting together.
std::vector<double> time_calls(Communicator& group, int repeats,
                               const std::function<void()>& call) {
  std::vector<double> seconds;
  call();
  for (int i = 0; i < repeats; ++i) {
    group.barrier();
    const double start = monotonic_seconds();
    call();
    seconds.push_back(monotonic_seconds() - start);
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds;
}

class Bench {
 public:
  Bench(Process& process, std::int64_t max_bytes) : process_(process), max_bytes_(max_bytes) {}

  // The rows of the group of the first `n` ranks. Collective over it.
  std::vector<Row> run(int n) {
    members_.resize(static_cast<std::size_t>(n));
    std::iota(members_.begin(), members_.end(), 0);
    copy_seconds_.clear();
    std::vector<Row> rows;
    GroupOptions options;
    const auto plain = process_.make_group(members_, options);
    measure_memcpy(*plain, rows);
    measure(*plain, rows);
    if (n >= 4 && process_.size() % (n / 2) == 0) {
      options.simulated_nodes = process_.size() / (n / 2);
      measure(*process_.make_group(members_, options), rows);
    }
    options.transport = Transport::kMpi;
    measure(*process_.make_group(members_, options), rows);
    measure_open_mpi(*plain, rows);
    return rows;
  }

 private:
  void add(std::vector<Row>& rows, const std::string& transport, std::int64_t bytes,
           const std::vector<double>& seconds) {
    Row row{static_cast<int>(members_.size()),
            transport,
            bytes,
            seconds[seconds.size() / 2],
            seconds[seconds.size() / 10],
            seconds[seconds.size() * 9 / 10],
            0};
    row.memcpy_seconds = transport == "memcpy" ? row.median : copy_seconds_[rows.size() % sizes()];
    if (transport == "memcpy") copy_seconds_.push_back(row.median);
    rows.push_back(std::move(row));
  }

  std::size_t sizes() const {
    return static_cast<std::size_t>(
        std::count_if(std::begin(kSizes), std::end(kSizes),
                      [this](const Size& size) { return size.bytes <= max_bytes_; }));
  }

  template <class Call>
  void measure_all(Communicator& group, const std::string& transport, std::vector<Row>& rows,
                   Call call) {
    for (std::size_t i = 0; i < sizes(); ++i) {
      std::vector<float> data(static_cast<std::size_t>(kSizes[i].bytes) / sizeof(float));
      add(rows, transport, kSizes[i].bytes,
          time_calls(group, kSizes[i].repeats, [&] { call(data); }));
    }
  }

  void measure(Communicator& group, std::vector<Row>& rows) {
    measure_all(group, group.transport(), rows,
                [&](std::vector<float>& data) { group.all_reduce_sum(std::span<float>(data)); });
  }

  void measure_memcpy(Communicator& group, std::vector<Row>& rows) {
    std::vector<float> target(static_cast<std::size_t>(max_bytes_) / sizeof(float) + 1);
    measure_all(group, "memcpy", rows, [&](std::vector<float>& data) {
      std::memcpy(target.data(), data.data(), data.size() * sizeof(float));
    });
  }

  void measure_open_mpi(Communicator& group, std::vector<Row>& rows) {
    MPI_Group world = MPI_GROUP_NULL;
    check_mpi(MPI_Comm_group(MPI_COMM_WORLD, &world), "MPI_Comm_group");
    const UniqueMpiGroup world_group(world);
    MPI_Group some = MPI_GROUP_NULL;
    check_mpi(MPI_Group_incl(world, static_cast<int>(members_.size()), members_.data(), &some),
              "MPI_Group_incl");
    const UniqueMpiGroup some_group(some);
    MPI_Comm comm = MPI_COMM_NULL;
    check_mpi(MPI_Comm_create_group(MPI_COMM_WORLD, some, 1, &comm), "MPI_Comm_create_group");
    const UniqueMpiComm owner(comm);
    measure_all(group, "MPI_Allreduce", rows, [&](std::vector<float>& data) {
      check_mpi(MPI_Allreduce(MPI_IN_PLACE, data.data(), static_cast<int>(data.size()), MPI_FLOAT,
                              MPI_SUM, comm),
                "MPI_Allreduce");
    });
  }

  Process& process_;
  std::int64_t max_bytes_;
  std::vector<int> members_;
  std::vector<double> copy_seconds_;  // [size]
};

void print_table(const std::vector<Row>& rows, const Process& process) {
  fmt::print("all-reduce of floats on {}, {} cores, {} ranks started\n\n", process.host(),
             ::sysconf(_SC_NPROCESSORS_ONLN), process.size());
  fmt::print("{:>5}  {:<13} {:>9} {:>11} {:>19} {:>8} {:>9}\n", "ranks", "transport", "bytes",
             "median us", "10..90 % us", "GB/s", "/ memcpy");
  for (const Row& row : rows) {
    fmt::print("{:>5}  {:<13} {:>9} {:>11.1f} {:>9.1f}..{:<8.1f} {:>8.3f} {:>9.3f}\n", row.ranks,
               row.transport, row.bytes, row.median * 1e6, row.low * 1e6, row.high * 1e6,
               row.rate(), row.ratio());
  }
}

void print_json(const std::vector<Row>& rows, const Process& process) {
  fmt::print("{{\"bench\": \"collectives\", \"host\": \"{}\", \"cores\": {}, \"rows\": [\n",
             process.host(), ::sysconf(_SC_NPROCESSORS_ONLN));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Row& row = rows[i];
    fmt::print(
        "  {{\"ranks\": {}, \"transport\": \"{}\", \"bytes\": {}, \"median_seconds\": {:.9f}, "
        "\"p10_seconds\": {:.9f}, \"p90_seconds\": {:.9f}, \"gb_per_second\": {:.4f}, "
        "\"ratio_to_memcpy\": {:.4f}}}{}\n",
        row.ranks, row.transport, row.bytes, row.median, row.low, row.high, row.rate(), row.ratio(),
        i + 1 < rows.size() ? "," : "");
  }
  fmt::print("]}}\n");
}

int run_bench(Process& process, int argc, char** argv) {
  const Arguments arguments = parse(argc, argv);
  if (process.size() < 2) fail_usage("start it with mpirun -n 2, 4 or 8");
  const std::unique_ptr<Communicator> world = process.make_world();
  Bench bench(process, arguments.max_bytes);
  std::vector<Row> rows;
  for (const int n : {2, 4, 8}) {
    if (n > process.size()) break;
    if (process.rank() < n) {
      const std::vector<Row> some = bench.run(n);
      rows.insert(rows.end(), some.begin(), some.end());
    }
    world->barrier();  // the other ranks sleep here
  }
  if (process.rank() == 0) {
    if (arguments.json) {
      print_json(rows, process);
    } else {
      print_table(rows, process);
    }
  }
  return kExitDone;
}

}  // namespace
}  // namespace talaria::parallel

int main(int argc, char** argv) {
  talaria::parallel::Process process;
  return process.run([&] { return talaria::parallel::run_bench(process, argc, argv); });
}
