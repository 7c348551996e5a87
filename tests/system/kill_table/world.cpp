// SPDX-License-Identifier: Apache-2.0
#include "tests/system/kill_table/world.h"

#include <algorithm>
#include <sstream>

#include <fcntl.h>
#include <unistd.h>

#include "cluster/base/file.h"

namespace talaria::kill_table {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

// "" for a process that has gone meanwhile.
std::string read_proc(const fs::path& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string text;
  char buffer[4096];
  ssize_t got = 0;
  while (fd && (got = ::read(fd.get(), buffer, sizeof buffer)) > 0) {
    text.append(buffer, static_cast<std::size_t>(got));
  }
  return text;
}

std::map<std::string, std::string> environment_of(const fs::path& proc) {
  std::map<std::string, std::string> variables;
  std::istringstream all(read_proc(proc / "environ"));
  for (std::string entry; std::getline(all, entry, '\0');) {
    const std::size_t equals = entry.find('=');
    if (equals != std::string::npos) variables[entry.substr(0, equals)] = entry.substr(equals + 1);
  }
  return variables;
}

std::vector<std::string> command_of(const fs::path& proc) {
  std::vector<std::string> words;
  std::istringstream all(read_proc(proc / "cmdline"));
  for (std::string word; std::getline(all, word, '\0');) words.push_back(word);
  return words;
}

Role role_of(const std::vector<std::string>& command) {
  if (command.empty()) return Role::kOther;
  const std::string program = fs::path(command[0]).filename();
  if (program == "talaria-worker") return Role::kRank;
  if (program == "mpirun" || program == "orterun") return Role::kMpirun;
  if (program != "talaria-launch") return Role::kOther;
  return command.size() > 1 && command[1] == "rank" ? Role::kRankParent : Role::kLauncher;
}

template <class Visit>
void each_process(Visit visit) {
  std::error_code error;
  for (fs::directory_iterator at("/proc", error); !error && at != fs::directory_iterator();
       at.increment(error)) {
    const std::string name = at->path().filename();
    const bool number =
        std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
    if (number) visit(at->path(), static_cast<pid_t>(std::stol(name)));
  }
}

// The launcher itself carries no attempt's id: it is known by the lock it wrote its name into.
pid_t lock_holder(const fs::path& run) {
  std::error_code error;
  if (!fs::exists(run / "launch.lock", error)) return 0;
  int pid = 0;
  std::istringstream text(read_proc(run / "launch.lock"));
  std::string word;
  text >> word >> pid;
  return pid;
}

}  // namespace

std::set<std::string> attempt_ids(const fs::path& run) {
  std::set<std::string> ids;
  std::error_code error;
  for (fs::directory_iterator at(run, error); !error && at != fs::directory_iterator();
       at.increment(error)) {
    json::error_code bad;
    const json::value spec = json::parse(read_proc(at->path() / "spec.json"), bad);
    if (!bad && spec.is_object()) {
      ids.insert(std::string(spec.at("attempt_id").as_string()));
    }
  }
  return ids;
}

std::vector<Process> processes_of(const fs::path& run) {
  const std::set<std::string> ids = attempt_ids(run);
  const pid_t launcher = lock_holder(run);
  std::vector<Process> found;
  each_process([&](const fs::path& proc, pid_t pid) {
    Process process;
    process.pid = pid;
    process.role = role_of(command_of(proc));
    auto variables = environment_of(proc);
    process.attempt_id = variables["TALARIA_ATTEMPT_ID"];
    const bool is_launcher = process.role == Role::kLauncher && pid == launcher;
    if (!ids.contains(process.attempt_id) && !is_launcher) return;
    const std::string& rank = variables["OMPI_COMM_WORLD_RANK"];
    if (!rank.empty()) process.rank = std::stoi(rank);
    found.push_back(process);
  });
  return found;
}

std::optional<Process> find(const fs::path& run, Role role, int rank) {
  for (const Process& process : processes_of(run)) {
    if (process.role == role && (rank < 0 || process.rank == rank)) return process;
  }
  return std::nullopt;
}

std::vector<json::object> read_lines(const fs::path& file) {
  std::vector<json::object> lines;
  std::istringstream all(read_proc(file));
  for (std::string line; std::getline(all, line);) {
    json::error_code error;
    const json::value value = json::parse(line, error);
    if (!error && value.is_object()) lines.push_back(value.as_object());
  }
  return lines;
}

std::vector<json::object> events(const fs::path& run, const std::string& kind) {
  std::vector<json::object> chosen;
  for (json::object& event : read_lines(run / "events.jsonl")) {
    if (event.at("kind").as_string() == std::string_view(kind)) chosen.push_back(std::move(event));
  }
  return chosen;
}

std::set<std::string> scratch_paths(const std::set<std::string>& ids) {
  std::set<std::string> paths;
  std::error_code error;
  for (fs::directory_iterator at("/dev/shm", error); !error && at != fs::directory_iterator();
       at.increment(error)) {
    const std::string name = at->path().filename();
    const bool marked = std::any_of(ids.begin(), ids.end(), [&](const std::string& id) {
      return name.find(id) != std::string::npos;
    });
    if (marked) paths.insert(at->path().string());
  }
  for (fs::directory_iterator at(fs::temp_directory_path(), error);
       !error && at != fs::directory_iterator(); at.increment(error)) {
    paths.insert(at->path().string());
  }
  return paths;
}

std::vector<fs::path> control_groups(const std::string& attempt_id) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::recursive_directory_iterator at("/sys/fs/cgroup", error);
       !error && at != fs::recursive_directory_iterator(); at.increment(error)) {
    const std::string name = at->path().filename();
    if (at->is_directory(error) && name.find(attempt_id) != std::string::npos) {
      found.push_back(at->path());
    }
  }
  return found;
}

}  // namespace talaria::kill_table
