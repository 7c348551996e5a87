// SPDX-License-Identifier: Apache-2.0
// What the commands of `talaria` need to know of the world: the environment, read once in main; the
// programs beside this one; and the parts that main puts together. Tests put in others.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "coordinator/api/service.h"
#include "coordinator/supervisor/coordinator.h"
#include "launch/attempt/command_line.h"

namespace talaria::coordinator {

struct Environment {
  std::string home;              // HOME
  std::string state_home;        // XDG_STATE_HOME
  std::string state_directory;   // TALARIA_STATE_DIR
  bool no_color = false;         // NO_COLOR is set and not empty
  bool dumb_terminal = false;    // TERM is "dumb" or not set
  std::filesystem::path folder;  // of this program
};

// Makes a coordinator that has begun its work. Throws UsageError where another holds the state.
using MakeService =
    std::function<std::unique_ptr<Service>(boost::asio::io_context& io, const Options& options)>;

// A command with a command line of its own: `arguments` follow its name. Returns the exit code.
using OtherCommand =
    std::function<int(const std::vector<std::string>& arguments, const launch::Tools& tools)>;

struct Parts {
  MakeService make_service;
  OtherCommand script;
  OtherCommand doctor;
};

struct Context {
  Environment environment;
  Parts parts;
  launch::Tools tools;  // beside this program
};

// Where `talaria coordinator` keeps its state, and where clients look for it, in this order. A
// given `--state-dir` is the only place. Throws UsageError without any.
std::filesystem::path state_directory_of(const Environment& environment, const std::string& given);
std::vector<std::filesystem::path> places_to_look(const Environment& environment,
                                                  const std::string& given);
// $XDG_STATE_HOME/talaria, where each user's own records lie; "" for a user without a home.
std::filesystem::path user_state_folder(const Environment& environment);

}  // namespace talaria::coordinator
