// SPDX-License-Identifier: Apache-2.0
// The suite over real processes, run under mpirun: for every transport that this world allows,
// every check of tests/support/comm_checks.h, then what only processes can show. All ranks run the
// same tests in the same order; a failure on one ends the job.
#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "cluster/base/error.h"
#include "cluster/base/log.h"
#include "parallel/comm/process.h"
#include "tests/support/comm_check_data.h"
#include "tests/support/comm_checks.h"

namespace talaria::parallel {
namespace {

using testing::HasSubstr;

// Of this job alone: its ranks are children of one mpirun.
std::string prefix() { return fmt::format("/talaria-comm-test-{}", ::getppid()); }

class Case : public testing::Test {
 public:
  explicit Case(std::function<void()> body) : body_(std::move(body)) {}
  void TestBody() override { body_(); }

 private:
  std::function<void()> body_;
};

void add_test(const std::string& suite, const std::string& name, std::function<void()> body) {
  testing::RegisterTest(suite.c_str(), name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
                        [body = std::move(body)]() -> testing::Test* { return new Case(body); });
}

struct Setup {
  std::string name;
  std::string transport;  // that the world's group must then have
  GroupOptions options;
};

std::vector<Setup> setups_for(int ranks) {
  GroupOptions options;
  options.shm_prefix = prefix();
  if (ranks == 1) return {{"single", "single", options}};
  std::vector<Setup> setups = {{"shm", "shm", options}};
  options.staging_bytes = 4096;
  setups.push_back({"shm_small_staging", "shm", options});
  options.transport = Transport::kMpi;
  setups.push_back({"mpi", "mpi", options});
  options.transport = Transport::kAuto;
  for (const int block : {2, 4}) {
    options.simulated_nodes = ranks / block;
    if (ranks % block != 0 || ranks == block) continue;
    setups.push_back(
        {fmt::format("hierarchical_{}x{}", ranks / block, block), "hierarchical", options});
  }
  return setups;
}

void add_suite(Process& process, const Setup& setup) {
  for (const CommCheck& check : comm_checks()) {
    add_test(setup.name, check.name, [&process, setup, check] {
      const std::unique_ptr<Communicator> world = process.make_world(setup.options);
      EXPECT_EQ(world->transport(), setup.transport);
      EXPECT_EQ(world->rank(), process.rank());
      EXPECT_EQ(world->size(), process.size());
      check.run(*world);
      if (!check.breaks_group) world->barrier();
    });
  }
}

std::vector<std::string> shared_files() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
    const std::string name = fmt::format("/{}", entry.path().filename().string());
    if (name.starts_with(prefix() + "-")) names.push_back(name);
  }
  return names;
}

// Rows and columns of a grid of two columns, as the axes of a mesh, used in turns.
void overlapping_groups(Process& process, const GroupOptions& options) {
  const int ranks = process.size();
  const int rank = process.rank();
  if (ranks % 2 != 0) return;
  const std::vector<int> row = {rank / 2 * 2 + 1, rank / 2 * 2};  // not ascending, on purpose
  std::vector<int> column;
  for (int member = rank % 2; member < ranks; member += 2) column.push_back(member);
  const std::unique_ptr<Communicator> rows = process.make_group(row, options);
  const std::unique_ptr<Communicator> columns = process.make_group(column, options);
  EXPECT_EQ(rows->rank(), 1 - rank % 2);
  EXPECT_EQ(columns->rank(), rank / 2);
  for (int round = 0; round < 20; ++round) {
    std::vector<std::int64_t> value = {rank};
    rows->all_reduce_sum(std::span<std::int64_t>(value));
    EXPECT_EQ(value[0], row[0] + row[1]);
    columns->all_reduce_sum(std::span<std::int64_t>(value));
    EXPECT_EQ(value[0], std::int64_t{ranks} * (ranks - 1) / 2);
  }
}

// Rank 0 sends to 1 and then sleeps in a shared-memory group with 2, which waits for a message
// that 1 sends only after it got its own. Hangs if rank 0 did not drive its send while asleep.
void sends_move_while_the_sender_sleeps(Process& process) {
  if (process.size() < 3 || process.rank() > 2) return;
  GroupOptions options;
  options.shm_prefix = prefix();
  options.max_message_bytes = 1 << 20;
  std::unique_ptr<Communicator> pair;
  if (process.rank() != 1) pair = process.make_group(std::vector{0, 2}, options);
  options.transport = Transport::kMpi;
  const std::unique_ptr<Communicator> three = process.make_group(std::vector{0, 1, 2}, options);
  const std::vector<std::byte> message = check_bytes(71, 0, 20'000'000);
  std::vector<std::byte> got(message.size());
  if (process.rank() == 0) three->send(message, 1);
  if (process.rank() == 1) {
    three->recv(got, 0);
    three->send(got, 2);
  }
  if (process.rank() == 2) {
    three->recv(got, 1);
    EXPECT_TRUE(same_bytes(got, message));
  }
  if (pair) pair->barrier();
}

void shm_over_nodes_is_refused(Process& process) {
  if (process.size() < 2) return;
  GroupOptions options;
  options.transport = Transport::kShm;
  options.simulated_nodes = 2;
  try {
    process.make_world(options);
    ADD_FAILURE() << "made";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("that lie on several nodes"));
  }
}

void strangers_are_refused(Process& process) {
  EXPECT_THROW(process.make_group(std::vector{process.size()}), Error);
  EXPECT_THROW(process.make_group(std::vector<int>{}), Error);
  EXPECT_THROW(process.make_group(std::vector{process.rank(), process.rank()}), Error);
  if (process.size() == 1) return;
  EXPECT_THROW(process.make_group(std::vector{(process.rank() + 1) % process.size()}), Error);
}

void unmappable_memory_is_an_error_everywhere(Process& process) {
  if (process.size() == 1) return;
  GroupOptions options;
  options.shm_prefix = "/no/such/folder";
  EXPECT_THROW(process.make_world(options), Error);
}

void add_own_tests(Process& process) {
  for (const Setup& setup : setups_for(process.size())) {
    add_test("Groups", fmt::format("overlap_{}", setup.name),
             [&process, setup] { overlapping_groups(process, setup.options); });
  }
  add_test("Groups", "sends_move_while_the_sender_sleeps",
           [&process] { sends_move_while_the_sender_sleeps(process); });
  add_test("Groups", "shm_over_nodes_is_refused",
           [&process] { shm_over_nodes_is_refused(process); });
  add_test("Groups", "strangers_are_refused", [&process] { strangers_are_refused(process); });
  add_test("Groups", "unmappable_memory_is_an_error_everywhere",
           [&process] { unmappable_memory_is_an_error_everywhere(process); });
  add_test("Process", "knows_its_place", [&process] {
    EXPECT_EQ(process.local_rank(), process.rank());  // the tests run on one machine
    EXPECT_EQ(process.local_size(), process.size());
    EXPECT_FALSE(process.host().empty());
  });
}

int run_all(Process& process, int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  GTEST_FLAG_SET(throw_on_failure, true);
  GTEST_FLAG_SET(catch_exceptions, false);
  if (process.rank() != 0) {
    testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
  }
  for (const Setup& setup : setups_for(process.size())) add_suite(process, setup);
  add_own_tests(process);
  const int rc = RUN_ALL_TESTS();
  // All ranks' groups are gone when the last group of all was: none of their names may be left.
  process.make_world()->barrier();
  if (process.rank() == 0) {
    for (const std::string& name : shared_files()) fail("/dev/shm{} was left behind", name);
  }
  return rc;
}

}  // namespace
}  // namespace talaria::parallel

int main(int argc, char** argv) {
  talaria::parallel::Process process;
  talaria::set_log_identity(fmt::format("rank {}", process.rank()));
  return process.run([&] { return talaria::parallel::run_all(process, argc, argv); });
}
