// SPDX-License-Identifier: Apache-2.0
// What [cluster] and [monitor] demand: names of nodes and the command that reaches them become
// arguments of mpirun, so they are held to a narrow alphabet.
#include <algorithm>
#include <cctype>
#include <charconv>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "cluster/base/error.h"
#include "cluster/base/text.h"
#include "launch/job_reader.h"

namespace talaria::launch {

namespace {

constexpr std::string_view kHostRule =
    "\"name\" or \"name:slots\", a host name or IPv4 address of A-Z a-z 0-9 . -, a letter or digit "
    "first, and 1 or more slots";

bool is_alphanumeric(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; }

// The host, with 0 slots where it has none; nothing for what is no host.
std::optional<HostSlots> parse_host(std::string_view text) {
  HostSlots host;
  const std::size_t colon = text.find(':');
  host.name = text.substr(0, colon);
  host.slots = 0;
  constexpr std::size_t kMostBytes = 253;  // of a DNS name
  if (host.name.empty() || host.name.size() > kMostBytes || !is_alphanumeric(host.name[0]) ||
      !std::all_of(host.name.begin(), host.name.end(),
                   [](char c) { return is_alphanumeric(c) || c == '.' || c == '-'; })) {
    return std::nullopt;
  }
  if (colon == std::string_view::npos) return host;
  const std::string_view digits = text.substr(colon + 1);
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), host.slots);
  if (error != std::errc() || end != digits.data() + digits.size() || host.slots < 1 ||
      host.slots > kMostRanks) {
    return std::nullopt;
  }
  return host;
}

void settle_hosts(const JobReader& reader, const ClusterSection& cluster) {
  if (cluster.hosts.empty()) return;
  if (cluster.launcher != "mpirun") {
    reader.refuse("cluster.hosts",
                  fmt::format("found with launcher = \"{}\"; allowed: with launcher = \"mpirun\", "
                              "or hosts = []",
                              cluster.launcher));
  }
  std::set<std::string> names;
  std::size_t with_slots = 0;
  std::int64_t slots = 0;
  for (std::size_t i = 0; i < cluster.hosts.size(); ++i) {
    const std::string& text = cluster.hosts[i];
    const std::optional<HostSlots> host = parse_host(text);
    if (!host) {
      reader.refuse("cluster.hosts", fmt::format("element {} is the string {}; allowed: {}", i,
                                                 in_quotes(text), kHostRule));
    }
    if (!names.insert(host->name).second) {
      reader.refuse("cluster.hosts", fmt::format("element {}, {}, is named before; allowed: each "
                                                 "host once, with all its slots",
                                                 i, in_quotes(host->name)));
    }
    with_slots += host->slots > 0 ? 1 : 0;
    slots += host->slots;
  }
  if (with_slots != 0 && with_slots != cluster.hosts.size()) {
    reader.refuse("cluster.hosts", fmt::format("{} of {} hosts have slots; allowed: all of them, "
                                               "or none",
                                               with_slots, cluster.hosts.size()));
  }
  if (with_slots != 0 && slots < cluster.ranks) {
    reader.refuse("cluster.hosts", fmt::format("{} slots for {} ranks; allowed: {} slots or more",
                                               slots, cluster.ranks, cluster.ranks));
  }
  if (with_slots == 0 && cluster.hosts.size() > static_cast<std::size_t>(cluster.ranks)) {
    reader.refuse("cluster.hosts", fmt::format("{} hosts for {} ranks; allowed: at most {} hosts",
                                               cluster.hosts.size(), cluster.ranks, cluster.ranks));
  }
}

void settle_agent(const JobReader& reader, const ClusterSection& cluster) {
  if (!reader.given("cluster.launch_agent")) return;
  const std::string& agent = cluster.launch_agent;
  constexpr std::size_t kMostBytes = 1024;
  const bool is_plain = std::all_of(agent.begin(), agent.end(), [](char c) {
    return is_alphanumeric(c) || std::string_view("_./@%+=:,- ").find(c) != std::string_view::npos;
  });
  if (agent.empty() || agent.size() > kMostBytes || !is_plain || agent.front() == '-' ||
      agent.front() == ' ' || agent.back() == ' ' || agent.find("  ") != std::string::npos) {
    reader.refuse(
        "cluster.launch_agent",
        fmt::format("found the string {}; allowed: a path or command of at most {} bytes, "
                    "with options, of A-Z a-z 0-9 _ . / @ % + = : , - and single spaces, "
                    "for example \"ssh\"",
                    in_quotes(agent), kMostBytes));
  }
}

}  // namespace

void settle_cluster(const JobReader& reader, const Job& job) {
  settle_hosts(reader, job.cluster);
  settle_agent(reader, job.cluster);
}

void settle_monitor(const JobReader& reader, const Job& job) {
  const MonitorSection& monitor = job.monitor;
  // At most 20 reports a second, as many as a rank sends at changes of phase.
  constexpr double kLeastBeat = 0.05;
  if (monitor.beat_seconds != 0.0 && monitor.beat_seconds < kLeastBeat) {
    reader.refuse("monitor.beat_seconds", fmt::format("found {}; allowed: 0, or {} or more",
                                                      monitor.beat_seconds, kLeastBeat));
  }
  const std::pair<const char*, double> deadlines[] = {
      {"monitor.start_seconds", monitor.start_seconds},
      {"monitor.setup_seconds", monitor.setup_seconds},
      {"monitor.restore_seconds", monitor.restore_seconds},
      {"monitor.rollout_seconds", monitor.rollout_seconds},
      {"monitor.score_seconds", monitor.score_seconds},
      {"monitor.step_seconds", monitor.step_seconds},
      {"monitor.evaluate_seconds", monitor.evaluate_seconds},
      {"monitor.save_seconds", monitor.save_seconds},
      {"monitor.finish_seconds", monitor.finish_seconds}};
  // A rank that says nothing for as long as its deadline counts as hung.
  const double least = 2.0 * job.beat_seconds();
  for (const auto& [name, seconds] : deadlines) {
    if (seconds == 0.0 || seconds >= least) continue;
    reader.refuse(name, fmt::format("found {}; allowed: 0, or {} or more (two beats of {} s, "
                                    "monitor.beat_seconds)",
                                    seconds, least, job.beat_seconds()));
  }
}

double Job::beat_seconds() const {
  constexpr int kManyRanks = 64;
  if (monitor.beat_seconds > 0.0) return monitor.beat_seconds;
  return cluster.ranks <= kManyRanks ? 1.0 : 5.0;
}

std::int64_t Job::memory_limit() const {
  constexpr double kGibibyte = 1024.0 * 1024.0 * 1024.0;
  return static_cast<std::int64_t>(cluster.memory_gib * kGibibyte);
}

std::vector<HostSlots> host_slots(const ClusterSection& cluster) {
  std::vector<HostSlots> hosts;
  const int count = static_cast<int>(cluster.hosts.size());
  for (int i = 0; i < count; ++i) {
    std::optional<HostSlots> host = parse_host(cluster.hosts[static_cast<std::size_t>(i)]);
    if (!host) {
      fail_usage("cluster.hosts: element {} is the string {}; allowed: {}", i,
                 in_quotes(cluster.hosts[static_cast<std::size_t>(i)]), kHostRule);
    }
    if (host->slots == 0) {
      host->slots = cluster.ranks / count + (i < cluster.ranks % count ? 1 : 0);
    }
    hosts.push_back(std::move(*host));
  }
  return hosts;
}

std::string host_list(const ClusterSection& cluster) {
  std::string list;
  for (const HostSlots& host : host_slots(cluster)) {
    list += fmt::format("{}{}:{}", list.empty() ? "" : ",", host.name, host.slots);
  }
  return list;
}

}  // namespace talaria::launch
