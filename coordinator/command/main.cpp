// SPDX-License-Identifier: Apache-2.0
// talaria: the command line. Reads the environment, finds the programs beside itself and puts the
// parts together; everything else is in app.cpp and the files named after the commands.
#include <cstdlib>
#include <string_view>

#include <unistd.h>

#include "cluster/base/error.h"
#include "cluster/base/log.h"
#include "coordinator/command/app.h"
#include "coordinator/command/context.h"
#include "coordinator/doctor/doctor.h"
#include "launch/script/script_command.h"

namespace {

using namespace talaria;               // NOLINT: the program's own names
using namespace talaria::coordinator;  // NOLINT

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

int script(const std::vector<std::string>& arguments, const launch::Tools& tools) {
  std::string name = "talaria script";
  std::vector<std::string> words = arguments;
  std::vector<char*> argv = {name.data()};
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  return launch::script_command(static_cast<int>(argv.size()) - 1, argv.data(), tools.worker);
}

std::unique_ptr<Service> make_coordinator(boost::asio::io_context& io, const Options& options) {
  auto coordinator = std::make_unique<Coordinator>(io, options);
  coordinator->start();
  return coordinator;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    Context context;
    context.environment = read_environment();
    context.tools.worker = context.environment.folder / "talaria-worker";
    context.tools.launch = context.environment.folder / "talaria-launch";
    context.parts = {make_coordinator, script, doctor_command};
    return command_main(argc, argv, context);
  } catch (const std::exception& error) {
    log_line(error.what());
    return kExitFailed;
  }
}
