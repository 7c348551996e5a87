// SPDX-License-Identifier: Apache-2.0
// The program `talaria`: the parts put together, and the only look at the environment.
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "cluster/base/log.h"
#include "coordinator/command/app.h"
#include "coordinator/doctor/doctor.h"
#include "coordinator/supervisor/coordinator.h"
#include "launch/script/script_command.h"

namespace talaria::coordinator {
namespace {

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

Environment read_environment() {
  Environment environment;
  environment.home = variable("HOME");
  environment.state_home = variable("XDG_STATE_HOME");
  environment.state_directory = variable("TALARIA_STATE_DIR");
  environment.no_color = !variable("NO_COLOR").empty();
  const std::string terminal = variable("TERM");
  environment.dumb_terminal = terminal.empty() || terminal == "dumb";
  environment.folder = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  return environment;
}

std::unique_ptr<Service> make_coordinator(boost::asio::io_context& io, const Options& options) {
  auto coordinator = std::make_unique<Coordinator>(io, options);
  coordinator->start();
  return coordinator;
}

int script(const std::vector<std::string>& arguments, const launch::Tools& tools) {
  std::string name = "talaria script";
  std::vector<std::string> words = arguments;
  std::vector<char*> argv = {name.data()};
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  return launch::script_command(static_cast<int>(argv.size()) - 1, argv.data(), tools.worker);
}

Context make_context() {
  Context context;
  context.environment = read_environment();
  context.parts = {make_coordinator, script, doctor::doctor_command};
  context.tools.worker = (context.environment.folder / "talaria-worker").string();
  context.tools.launch = (context.environment.folder / "talaria-launch").string();
  return context;
}

}  // namespace
}  // namespace talaria::coordinator

int main(int argc, char** argv) {
  try {
    return talaria::coordinator::command_main(argc, argv, talaria::coordinator::make_context());
  } catch (const std::exception& error) {
    talaria::log_line(error.what());
    return talaria::kExitFailed;
  }
}
