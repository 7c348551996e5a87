// SPDX-License-Identifier: Apache-2.0
#include "worker/exchange.h"

#include <algorithm>
#include <span>

#include "cluster/base/error.h"
#include "cluster/base/log.h"

namespace talaria::worker {

std::vector<std::string> gather_strings(parallel::Communicator& group, const std::string& own) {
  const auto ranks = static_cast<std::size_t>(group.size());
  std::vector<std::int64_t> sizes(ranks, 0);
  sizes[static_cast<std::size_t>(group.rank())] = static_cast<std::int64_t>(own.size());
  group.all_gather(std::as_writable_bytes(std::span(sizes)));
  const auto most = static_cast<std::size_t>(*std::max_element(sizes.begin(), sizes.end()));
  std::vector<char> bytes(most * ranks);
  std::copy(own.begin(), own.end(),
            bytes.begin() + static_cast<std::ptrdiff_t>(most) * group.rank());
  group.all_gather(std::as_writable_bytes(std::span(bytes)));
  std::vector<std::string> strings;
  for (std::size_t r = 0; r < ranks; ++r) {
    strings.emplace_back(bytes.data() + r * most, static_cast<std::size_t>(sizes[r]));
  }
  return strings;
}

std::string broadcast_string(parallel::Communicator& group, std::string text, int root) {
  auto size = static_cast<std::int64_t>(text.size());
  group.broadcast(std::as_writable_bytes(std::span(&size, 1)), root);
  text.resize(static_cast<std::size_t>(size));
  group.broadcast(std::as_writable_bytes(std::span(text)), root);
  return text;
}

int agree(parallel::Communicator& group, const std::function<void()>& work) {
  std::string complaint;
  int code = kExitDone;
  try {
    work();
  } catch (const UsageError& error) {
    code = kExitUsage;
    complaint = error.what();
  } catch (const Error& error) {
    code = kExitFailed;
    complaint = error.what();
  }
  std::vector<std::int64_t> codes(static_cast<std::size_t>(group.size()), 0);
  codes[static_cast<std::size_t>(group.rank())] = code;
  group.all_reduce_sum(std::span(codes));
  const auto first =
      std::find_if(codes.begin(), codes.end(), [](std::int64_t each) { return each != kExitDone; });
  if (first == codes.end()) return kExitDone;
  // No rank's name before it: the complaint is the user's line, "file:line: key: what".
  if (first - codes.begin() == group.rank()) log_unnamed(complaint);
  return static_cast<int>(*first);
}

void agree_or_throw(parallel::Communicator& group, const std::function<void()>& work) {
  const int code = agree(group, work);
  if (code != kExitDone) throw AgreedFailure{code};
}

}  // namespace talaria::worker
