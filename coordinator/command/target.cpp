// SPDX-License-Identifier: Apache-2.0
#include "coordinator/command/target.h"

#include <algorithm>
#include <charconv>
#include <tuple>

#include "cluster/base/log.h"
#include "cluster/base/text.h"
#include "coordinator/command/follow.h"
#include "coordinator/command/offline.h"
#include "coordinator/command/registry.h"
#include "coordinator/command/view.h"
#include "launch/attempt/attempt.h"

namespace talaria::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr double kAnswerSeconds = 10.0;

// Jobs of one state directory, from its coordinator or from its file.
void add_jobs(std::vector<FoundJob>& found, const fs::path& state, bool daemon, bool all) {
  bool served = true;
  std::vector<JobView> views;
  try {
    views = Client(state, kAnswerSeconds).list(all);
  } catch (const NoCoordinator&) {
    if (daemon) return;
    served = false;
    views = offline_jobs(state);
  }
  for (JobView& view : views) {
    if (view.stages.empty() || (!all && ended(state_of(view)))) continue;
    // A run directory is one run, however often it was started.
    if (!daemon && &view != &views.front() && ended(state_of(view))) continue;
    found.push_back({std::move(view), daemon, served, state});
  }
}

// At work, in the queue, over.
int group_of(const FoundJob& job) {
  const StageState state = state_of(job.view);
  return holds_slot(state) ? 0 : ended(state) ? 2 : 1;
}

bool before(const FoundJob& a, const FoundJob& b) {
  const auto key = [](const FoundJob& job) {
    const int group = group_of(job);
    const double time = job.view.job.submitted;
    return std::tuple(group, group == 1 ? time : -time, job.view.job.id);
  };
  return key(a) < key(b);
}

std::optional<std::int64_t> as_id(const std::string& word) {
  std::int64_t id = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
  if (error != std::errc() || end != word.data() + word.size() || id <= 0) return std::nullopt;
  return id;
}

const FoundJob* newest(const std::vector<FoundJob>& jobs, auto wanted) {
  const FoundJob* best = nullptr;
  for (const FoundJob& job : jobs) {
    if (!wanted(job)) continue;
    if (best == nullptr || std::pair(job.view.job.submitted, job.view.job.id) >
                               std::pair(best->view.job.submitted, best->view.job.id)) {
      best = &job;
    }
  }
  return best;
}

std::string canonical(const std::string& path) {
  std::error_code error;
  const fs::path absolute = fs::weakly_canonical(fs::absolute(path, error), error);
  std::string text = absolute.string();
  while (text.size() > 1 && text.ends_with('/')) text.pop_back();
  return text;
}

}  // namespace

JobView FoundJob::look() const {
  const std::int64_t id = view.job.id;
  if (served) {
    try {
      return client().show(id);
    } catch (const NoCoordinator&) {
      if (daemon) throw;
    }
  }
  return offline_job(state_directory, id);
}

std::string FoundJob::state_word() const {
  const StageState state = state_of(view);
  if (served || ended(state)) return name(state);
  const bool alive = std::any_of(
      view.stages.begin(), view.stages.end(),
      [](const StageView& stage) { return launch::find_launcher(stage.row.run_directory).alive; });
  return alive ? "unwatched" : "interrupted";
}

std::string FoundJob::handle() const {
  return daemon ? std::to_string(view.job.id) : view.job.run_directory;
}

std::optional<Client> find_daemon(const Context& context, const std::string& state_directory) {
  for (const fs::path& place : places_to_look(context.environment, state_directory)) {
    const Client client(place, kAnswerSeconds);
    if (client.answers()) return client;
  }
  return std::nullopt;
}

Client require_daemon(const Context& context, const std::string& state_directory) {
  if (std::optional<Client> client = find_daemon(context, state_directory)) return *client;
  fail_usage("no coordinator answers at {}; start one with: talaria coordinator",
             places_to_look(context.environment, state_directory).front().string());
}

std::vector<FoundJob> find_jobs(const Context& context, const std::string& state_directory,
                                bool all) {
  std::vector<FoundJob> found;
  if (const auto daemon = find_daemon(context, state_directory)) {
    add_jobs(found, daemon->state_directory(), true, all);
  }
  const fs::path own = user_state_folder(context.environment);
  for (const fs::path& run :
       own.empty() ? std::vector<fs::path>() : registered_runs(own / "runs")) {
    try {
      add_jobs(found, embedded_state(run), false, all);
    } catch (const Error& error) {
      log_warning("{}: {}", one_line(run.string()), one_line(error.what()));
    }
  }
  std::stable_sort(found.begin(), found.end(), before);
  return found;
}

FoundJob find_job(const Context& context, const std::string& state_directory,
                  const std::string& word) {
  std::vector<FoundJob> jobs = find_jobs(context, state_directory, true);
  const std::string path = canonical(word);
  // A run directory that nobody has registered, another user's or one that was moved.
  std::error_code gone;
  const fs::path state = embedded_state(path);
  const bool known = std::any_of(jobs.begin(), jobs.end(),
                                 [&](const FoundJob& job) { return job.state_directory == state; });
  if (!known && fs::exists(state, gone)) add_jobs(jobs, state, false, true);

  const FoundJob* found = nullptr;
  if (const auto id = as_id(word)) {
    found = newest(jobs, [&](const FoundJob& job) { return job.daemon && job.view.job.id == *id; });
  }
  if (found == nullptr) {
    found = newest(jobs, [&](const FoundJob& job) { return job.view.job.name == word; });
  }
  if (found == nullptr) {
    found = newest(jobs, [&](const FoundJob& job) {
      return job.view.job.run_directory == path ||
             fs::path(job.view.job.run_directory).filename() == word ||
             job.state_directory == state;
    });
  }
  if (found == nullptr) {
    fail_usage("{}: no such job; allowed: an id, a name or a run directory of: talaria ps --all",
               in_quotes(word));
  }
  return *found;
}

}  // namespace talaria::coordinator
