// SPDX-License-Identifier: Apache-2.0
#include "parallel/comm/process.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include <unistd.h>

#include "cluster/base/error.h"
#include "cluster/base/log.h"
#include "parallel/comm/hierarchical.h"
#include "parallel/comm/mpi_comm.h"
#include "parallel/comm/mpi_handles.h"
#include "parallel/comm/shared_comm.h"

namespace talaria::parallel {

struct Process::State {
  int exceptions = std::uncaught_exceptions();
  int rank = 0;
  int size = 1;
  int local_rank = 0;
  int local_size = 1;
  std::string host;
  std::vector<int> nodes;  // [world rank], the smallest world rank of its node
  int segments_made = 0;
  std::shared_ptr<MpiProgress> progress = std::make_shared<MpiProgress>();
};

namespace {

constexpr std::size_t kNameBytes = 256;
constexpr int kNamesTried = 1000;

// MPI_Comm_split of `whole`: the ranks of one colour, ordered by key.
UniqueMpiComm split(MPI_Comm whole, int colour, int key) {
  MPI_Comm part = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split(whole, colour, key, &part), "MPI_Comm_split");
  return UniqueMpiComm(part);
}

UniqueMpiComm create_group(std::span<const int> world_ranks) {
  MPI_Group world = MPI_GROUP_NULL;
  check_mpi(MPI_Comm_group(MPI_COMM_WORLD, &world), "MPI_Comm_group");
  const UniqueMpiGroup world_group(world);
  MPI_Group members = MPI_GROUP_NULL;
  check_mpi(
      MPI_Group_incl(world, static_cast<int>(world_ranks.size()), world_ranks.data(), &members),
      "MPI_Group_incl");
  const UniqueMpiGroup member_group(members);
  MPI_Comm comm = MPI_COMM_NULL;
  check_mpi(MPI_Comm_create_group(MPI_COMM_WORLD, members, 0, &comm), "MPI_Comm_create_group");
  return_errors(comm);
  return UniqueMpiComm(comm);
}

struct NamedSegment {
  std::shared_ptr<SharedSegment> segment;
  std::string name;
};

// A name is taken only by what a killed process of the same pid left behind.
NamedSegment create_segment(const std::string& prefix, int& made, int ranks,
                            const SharedOptions& options) {
  for (int attempt = 0; attempt < kNamesTried; ++attempt) {
    const std::string name = fmt::format("{}-{}-{}", prefix, ::getpid(), made++);
    if (name.size() >= kNameBytes) fail("shared memory name {}: too long", name);
    if (auto segment = SharedSegment::create(name, ranks, options)) return {segment, name};
  }
  fail("shared memory: {} names {}-{}-* are taken in /dev/shm", kNamesTried, prefix, ::getpid());
}

// Collective over `members`, all on one node. The first creates, all map, the name goes away.
std::shared_ptr<SharedSegment> share_segment(MPI_Comm members, const std::string& prefix, int& made,
                                             const SharedOptions& options) {
  int rank = 0;
  int ranks = 0;
  check_mpi(MPI_Comm_rank(members, &rank), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(members, &ranks), "MPI_Comm_size");
  NamedSegment mine;
  std::optional<Error> failure;
  const auto attempt = [&failure](auto&& step) {
    try {
      step();
    } catch (const Error& error) {
      failure = error;
    }
  };
  if (rank == 0) attempt([&] { mine = create_segment(prefix, made, ranks, options); });
  char name[kNameBytes] = {};
  mine.name.copy(name, kNameBytes - 1);
  check_mpi(MPI_Bcast(name, kNameBytes, MPI_CHAR, 0, members), "MPI_Bcast");
  if (rank != 0 && name[0] != '\0') {
    attempt([&] { mine.segment = SharedSegment::open(name, ranks, options); });
  }
  int mapped = mine.segment ? 1 : 0;
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, &mapped, 1, MPI_INT, MPI_MIN, members), "MPI_Allreduce");
  if (rank == 0 && !mine.name.empty()) SharedSegment::unlink(mine.name);
  if (failure) throw *failure;
  if (mapped == 0) fail("shared memory group: another rank could not map its memory");
  return mine.segment;
}

std::unique_ptr<Communicator> make_shared(MPI_Comm members, const GroupOptions& options, int& made,
                                          const std::shared_ptr<MpiProgress>& progress) {
  int rank = 0;
  check_mpi(MPI_Comm_rank(members, &rank), "MPI_Comm_rank");
  const SharedOptions shared{options.staging_bytes, options.max_message_bytes};
  std::shared_ptr<SharedSegment> segment = share_segment(members, options.shm_prefix, made, shared);
  return std::make_unique<SharedCommunicator>(std::move(segment), rank, "shm",
                                              [progress] { return progress->poll(); });
}

std::unique_ptr<Communicator> make_hierarchical(UniqueMpiComm whole, int block,
                                                const GroupOptions& options, int& made,
                                                const std::shared_ptr<MpiProgress>& progress) {
  int rank = 0;
  check_mpi(MPI_Comm_rank(whole.get(), &rank), "MPI_Comm_rank");
  const UniqueMpiComm node = split(whole.get(), rank / block, rank);
  return_errors(node.get());
  HierarchicalParts parts;
  parts.node = make_shared(node.get(), options, made, progress);
  parts.peers = std::make_unique<MpiCommunicator>(split(whole.get(), rank % block, rank), progress);
  parts.whole = std::make_unique<MpiCommunicator>(std::move(whole), progress);
  return std::make_unique<HierarchicalCommunicator>(std::move(parts));
}

// Which world ranks share memory with which: fills local_rank, local_size and nodes. Collective.
void find_nodes(int& local_rank, int& local_size, std::vector<int>& nodes, int rank) {
  MPI_Comm shared = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &shared),
            "MPI_Comm_split_type");
  const UniqueMpiComm node(shared);
  check_mpi(MPI_Comm_rank(shared, &local_rank), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(shared, &local_size), "MPI_Comm_size");
  int first = rank;
  check_mpi(MPI_Bcast(&first, 1, MPI_INT, 0, shared), "MPI_Bcast");
  check_mpi(MPI_Allgather(&first, 1, MPI_INT, nodes.data(), 1, MPI_INT, MPI_COMM_WORLD),
            "MPI_Allgather");
}

}  // namespace

Process::Process() : state_(std::make_unique<State>()) {
  // Open MPI's crash handler allocates memory: a rank that dies inside malloc would wait for itself
  // for ever, and its peers for it. Without the handler it dies at once. The user's own setting
  // stands.
  check_sys(::setenv("OMPI_MCA_opal_signal", "", 0), "setenv", "OMPI_MCA_opal_signal");
  int provided = 0;
  check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
  if (provided < MPI_THREAD_FUNNELED) fail("MPI_Init_thread: this MPI has no MPI_THREAD_FUNNELED");
  return_errors(MPI_COMM_WORLD);
  State& state = *state_;
  check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &state.rank), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &state.size), "MPI_Comm_size");
  char host[MPI_MAX_PROCESSOR_NAME];
  int length = 0;
  check_mpi(MPI_Get_processor_name(host, &length), "MPI_Get_processor_name");
  state.host.assign(host, static_cast<std::size_t>(length));
  state.nodes.resize(static_cast<std::size_t>(state.size));
  find_nodes(state.local_rank, state.local_size, state.nodes, state.rank);
}

Process::~Process() {
  if (std::uncaught_exceptions() > state_->exceptions) abort(kExitFailed);
  const int rc = MPI_Finalize();
  if (rc != MPI_SUCCESS) log_warning("MPI_Finalize: MPI error {}", rc);
}

int Process::rank() const { return state_->rank; }
int Process::size() const { return state_->size; }
int Process::local_rank() const { return state_->local_rank; }
int Process::local_size() const { return state_->local_size; }
const std::string& Process::host() const { return state_->host; }

std::unique_ptr<Communicator> Process::make_group(std::span<const int> world_ranks,
                                                  const GroupOptions& options) {
  State& state = *state_;
  std::vector<int> nodes;
  for (const int member : world_ranks) {
    if (member < 0 || member >= state.size) {
      fail("make_group: rank {} in a world of {}", member, state.size);
    }
    nodes.push_back(
        options.simulated_nodes > 0
            ? static_cast<int>(std::int64_t{member} * options.simulated_nodes / state.size)
            : state.nodes[static_cast<std::size_t>(member)]);
  }
  if (std::count(world_ranks.begin(), world_ranks.end(), state.rank) != 1) {
    fail("make_group: rank {} is not exactly once among the members", state.rank);
  }
  const GroupPlan plan = plan_group(nodes, options.transport);
  if (plan.kind == GroupPlan::Kind::kSingle) return make_single_communicator();
  UniqueMpiComm whole = create_group(world_ranks);
  switch (plan.kind) {
    case GroupPlan::Kind::kShm:
      return make_shared(whole.get(), options, state.segments_made, state.progress);
    case GroupPlan::Kind::kHierarchical:
      return make_hierarchical(std::move(whole), plan.block, options, state.segments_made,
                               state.progress);
    default:
      return std::make_unique<MpiCommunicator>(std::move(whole), state.progress);
  }
}

std::unique_ptr<Communicator> Process::make_world(const GroupOptions& options) {
  std::vector<int> ranks(static_cast<std::size_t>(state_->size));
  std::iota(ranks.begin(), ranks.end(), 0);
  return make_group(ranks, options);
}

int Process::run(const std::function<int()>& body) {
  try {
    return body();
  } catch (const UsageError& error) {
    log_line(error.what());
    abort(kExitUsage);
  } catch (const std::exception& error) {
    log_line(fmt::format("error: {}", error.what()));
    abort(kExitFailed);
  }
}

void Process::abort(int exit_code) noexcept {
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  std::_Exit(exit_code);
}

}  // namespace talaria::parallel
