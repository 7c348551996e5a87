// SPDX-License-Identifier: Apache-2.0
// The group of one.
#include "cluster/base/error.h"
#include "parallel/communicator.h"

namespace talaria::parallel {
namespace {

class SingleCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::string transport() const override { return "single"; }
  void all_reduce_sum(std::span<float>) override { count_call(0); }
  void all_reduce_sum(std::span<double>) override { count_call(0); }
  void all_reduce_sum(std::span<std::int64_t>) override { count_call(0); }
  void reduce_scatter_sum(std::span<float>) override { count_call(0); }
  void all_gather(std::span<std::byte>) override { count_call(0); }
  void broadcast(std::span<std::byte>, int root) override {
    if (root != 0) fail("single group: broadcast from rank {}", root);
    count_call(0);
  }
  void send(std::span<const std::byte>, int to) override {
    fail("single group: send to rank {}, which is not another rank of the group", to);
  }
  void recv(std::span<std::byte>, int from) override {
    fail("single group: recv from rank {}, which is not another rank of the group", from);
  }
  void barrier() override { count_call(0); }
};

}  // namespace

std::unique_ptr<Communicator> make_single_communicator() {
  return std::make_unique<SingleCommunicator>();
}

}  // namespace talaria::parallel
