// SPDX-License-Identifier: Apache-2.0
#include "coordinator/doctor/doctor.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "cluster/base/error.h"
#include "coordinator/doctor/gather.h"
#include "coordinator/doctor/report.h"

namespace talaria::doctor {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

Environment read_environment() {
  return {variable("PATH"), variable("HOME"), variable("XDG_STATE_HOME"),
          !variable("OMPI_ALLOW_RUN_AS_ROOT").empty() &&
              !variable("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM").empty()};
}

}  // namespace

int doctor_command(const std::vector<std::string>& args, const launch::Tools& tools) {
  bool as_json = false;
  CLI::App app("What this machine has, what is missing, and the command that brings it.",
               "talaria doctor");
  app.add_flag("--json", as_json, "print one JSON object");
  app.footer("Exit codes: 0 the quickstart can run, 1 something stops it, 2 wrong usage.");
  try {
    std::vector<std::string> reversed(args.rbegin(), args.rend());
    app.parse(reversed);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitDone : kExitUsage;
  }
  const Facts facts =
      gather_facts(tools, read_environment(), std::filesystem::current_path().string());
  const std::vector<Finding> findings = judge(facts);
  fmt::print("{}", as_json ? report_json(findings, facts) : report_text(findings));
  return what_stops(findings).empty() ? kExitDone : kExitFailed;
}

}  // namespace talaria::doctor
