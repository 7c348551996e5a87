// SPDX-License-Identifier: Apache-2.0
#include "coordinator/doctor/report.h"

#include <algorithm>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "cluster/base/text.h"

namespace talaria::doctor {
namespace {

namespace json = boost::json;

json::object describe_node(const inventory::Node& node) {
  return {{"host", node.host},
          {"cpu",
           {{"model", node.cpu.model},
            {"features", json::value_from(node.cpu.features)},
            {"online", node.cpu.online},
            {"allowed", node.cpu.allowed},
            {"quota", node.cpu.quota},
            {"usable", node.cpu.usable()}}},
          {"numa_nodes", node.numa_nodes},
          {"memory",
           {{"total", node.memory.total},
            {"available", node.memory.available},
            {"limit", node.memory.limit},
            {"usable", node.memory.usable()}}},
          {"shared_memory", {{"size", node.shared_memory.size}, {"free", node.shared_memory.free}}},
          {"open_files", {{"soft", node.open_files.soft}, {"hard", node.open_files.hard}}},
          {"gpus",
           {{"on_bus", node.gpus.on_bus},
            {"by_driver", node.gpus.by_driver},
            {"driver", node.gpus.driver}}}};
}

json::object describe_disk(const DiskFacts& disk) {
  json::object object = {{"folder", disk.folder}, {"free", disk.free}};
  if (disk.speed) {
    object["bytes_per_second"] = disk.speed->bytes_per_second();
    object["direct"] = disk.speed->direct;
  } else {
    object["error"] = disk.trouble;
  }
  return object;
}

}  // namespace

std::string report_text(const std::vector<Finding>& findings) {
  std::size_t width = 0;
  for (const Finding& finding : findings) width = std::max(width, finding.item.size());
  std::string text;
  for (const Finding& finding : findings) {
    text += fmt::format("{:<{}}  {:<7}  {}\n", finding.item, width, level_name(finding.level),
                        one_line(finding.found));
    if (!finding.remedy.empty()) {
      text += fmt::format("{:<{}}  {:<7}  -> {}\n", "", width, "", one_line(finding.remedy));
    }
  }
  const std::string stops = what_stops(findings);
  return text + (stops.empty() ? "the quickstart can run: scripts/quickstart" : one_line(stops)) +
         "\n";
}

std::string report_json(const std::vector<Finding>& findings, const Facts& facts) {
  json::array rows;
  json::array stops;
  for (const Finding& finding : findings) {
    rows.push_back(json::object{{"item", finding.item},
                                {"level", level_name(finding.level)},
                                {"found", finding.found},
                                {"remedy", finding.remedy},
                                {"stops", finding.stops}});
    if (finding.stops) stops.push_back(json::string(finding.item));
  }
  return json::serialize(json::object{{"quickstart", stops.empty()},
                                      {"stops", stops},
                                      {"findings", rows},
                                      {"node", describe_node(facts.node)},
                                      {"disk", describe_disk(facts.disk)}}) +
         "\n";
}

}  // namespace talaria::doctor
