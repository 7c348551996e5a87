// SPDX-License-Identifier: Apache-2.0
// `talaria coordinator`: the daemon. SIGTERM and SIGINT end it; attempts go on and are adopted at
// the next start.
#include <csignal>

#include <boost/asio/signal_set.hpp>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster/base/log.h"
#include "cluster/base/text.h"
#include "coordinator/api/server.h"
#include "coordinator/api/socket.h"
#include "coordinator/command/app.h"
#include "coordinator/command/options.h"

namespace talaria::coordinator {
namespace {

namespace fs = std::filesystem;

struct DaemonOptions {
  std::string state_directory;
  int jobs = 1;
  std::string bind_address = "127.0.0.1";
  std::string advertised;
  std::int64_t crash_at_statement = -1;
  launch::Tools tools;
};

// Users of root's daemon must reach its socket, and nothing else in there.
void make_state_directory(const fs::path& folder, bool everyone) {
  std::error_code error;
  fs::create_directories(folder.parent_path(), error);
  if (error) {
    fail_usage("{}: cannot make the state directory: {}", folder.string(), error.message());
  }
  const mode_t mode = everyone ? 0711 : 0700;
  if (::mkdir(folder.c_str(), mode) == 0) {
    check_sys(::chmod(folder.c_str(), mode), "chmod", folder.string());
  } else if (errno != EEXIST) {
    fail_usage("{}: cannot make the state directory: {}", folder.string(),
               describe_errno("mkdir", "", errno));
  }
}

// A descriptor for each rank and each client of a large job.
void raise_descriptor_limit() {
  rlimit limit{};
  check_sys(::getrlimit(RLIMIT_NOFILE, &limit), "getrlimit", "RLIMIT_NOFILE");
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 65536);
  check_sys(::setrlimit(RLIMIT_NOFILE, &limit), "setrlimit", "RLIMIT_NOFILE");
}

int serve(const Context& context, const DaemonOptions& options) {
  const bool everyone = ::geteuid() == 0;
  Options coordinator;
  coordinator.state_directory = state_directory_of(context.environment, options.state_directory);
  coordinator.tools = options.tools;
  coordinator.parallel_jobs = options.jobs;
  coordinator.bind_address = options.bind_address;
  coordinator.advertised = options.advertised;
  make_state_directory(coordinator.state_directory, everyone);
  raise_descriptor_limit();
  ::signal(SIGPIPE, SIG_IGN);
  if (options.crash_at_statement >= 0) arm_statement_crash(options.crash_at_statement);

  boost::asio::io_context io;
  boost::asio::signal_set signals(io, SIGTERM, SIGINT);
  signals.async_wait([&io](const boost::system::error_code& error, int signal) {
    if (error) return;
    log_info("{}: ending; attempts go on and are adopted at the next start",
             signal == SIGTERM ? "SIGTERM" : "SIGINT");
    io.stop();
  });
  const std::unique_ptr<Service> service = context.parts.make_service(io, coordinator);
  const Server server(io, *service, coordinator.state_directory, everyone);
  log_info("coordinator, pid {}: serves {} at {}", ::getpid(),
           everyone ? "all users" : "its own user",
           one_line((coordinator.state_directory / kSocketName).string()));
  io.run();
  return kExitDone;
}

}  // namespace

void add_coordinator(CLI::App& app, const Context& context, int& exit_code) {
  auto options = std::make_shared<DaemonOptions>();
  options->tools = context.tools;
  CLI::App* command = app.add_subcommand("coordinator", "Serve a queue of jobs until SIGTERM.");
  command
      ->add_option("--state-dir", options->state_directory,
                   "default: /var/lib/talaria for root, else $XDG_STATE_HOME/talaria/coordinator")
      ->type_name("DIR");
  command->add_option("--jobs", options->jobs, "jobs that run at once")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command
      ->add_option(
          "--bind", options->bind_address,
          "address that ranks of this node report to; a job over several hosts is served on all")
      ->capture_default_str();
  add_advertise_option(*command, options->advertised);
  add_tool_options(*command, options->tools);
  command
      ->add_option("--crash-at-statement", options->crash_at_statement,
                   "for tests: die at the n-th statement of the database")
      ->group("");
  example(*command, "talaria coordinator --jobs 2",
          "Run by root it serves all users, each job with its user's rights; else its own user. "
          "Jobs go on\nwhen it ends, and are taken up again when it is back.");
  command->callback([options, &context, &exit_code] { exit_code = serve(context, *options); });
}

}  // namespace talaria::coordinator
