// SPDX-License-Identifier: Apache-2.0
// Kinds of jobs in this process alone: a folder with a byte tokenizer and small files, job files on
// them, and what a task needs from a trainer.
#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <unistd.h>

#include "cluster/base/config.h"
#include "launch/job.h"
#include "parallel/communicator.h"
#include "tests/support/chat_fixtures.h"
#include "worker/checkpointing.h"
#include "worker/task.h"

namespace talaria::worker::test {

class ScratchFolder {
 public:
  explicit ScratchFolder(const std::string& name)
      : path_(std::filesystem::temp_directory_path() /
              fmt::format("talaria_{}_{}", name, ::getpid())) {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
    talaria::test::tiny_tokenizer().save(path_ / "tokenizer");
  }
  ~ScratchFolder() { std::filesystem::remove_all(path_); }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name) << text;
    return (path_ / name).string();
  }

  // A job of this kind on one file, with further `table.key=value`.
  launch::Job job(const std::string& kind, const std::string& file,
                  const std::vector<std::string>& set = {}) const {
    const std::string text = fmt::format(
        "[job]\nname = \"test\"\nseed = 5\nkind = \"{}\"\n[model]\nlayers = 2\nhidden = 32\nheads "
        "= "
        "2\ncontext = 48\nvocab = 257\n[data]\nfiles = [\"{}\"]\ntokenizer = \"{}\"\ntemplate = "
        "\"plain\"\nvalidation = 0.3\n[train]\nsteps = 4\nglobal_batch = 2\nsequence_length = "
        "96\n[optimizer]\nlearning_rate = 1e-2\n",
        kind, file, (path_ / "tokenizer").string());
    return launch::parse_job(ConfigFile::parse(text, "test.toml", set));
  }

 private:
  std::filesystem::path path_;
};

// The one rank of a run.
class OneRank {
 public:
  OneRank() : reporter_(std::make_shared<wire::RankStatus>()) {
    for (auto* group : {&groups_.world, &groups_.tensor, &groups_.pipeline, &groups_.data}) {
      *group = parallel::make_single_communicator();
    }
  }

  TaskResources resources(const std::filesystem::path& run_path, bool resumes = false) {
    return {0, groups_, pool_, reporter_, run_path, tokenizer, resumes, origins, start};
  }

  Groups& groups() { return groups_; }
  ThreadPool& pool() { return pool_; }

  std::vector<Origin> origins;
  std::string tokenizer;
  launch::StartSection start;

 private:
  Groups groups_;
  ThreadPool pool_{1};
  Reporter reporter_;
};

inline std::vector<float> weights_of(Engine& engine) {
  std::vector<float> all;
  for (const parallel::NamedBox& box : engine.stage().parameters().weight_boxes()) {
    all.insert(all.end(), box.data, box.data + box.box.count());
  }
  return all;
}

// Lines of one turn, `count` of them, of different lengths; the answers are `tail` long.
inline std::string conversation_lines(int count, int longest = 9) {
  std::string text;
  for (int i = 0; i < count; ++i) {
    text += fmt::format("{{\"prompt\": \"{}{}=\", \"completion\": \"{}\"}}\n",
                        std::string(static_cast<std::size_t>(1 + i % longest), 'a'), i, 3 * i);
  }
  return text;
}

inline std::string comparison_lines(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) {
    text += i % 2 == 0 ? fmt::format(
                             "{{\"prompt\": \"q{0}\", \"chosen\": \"yes{0}\", \"rejected\": "
                             "\"no\"}}\n",
                             i)
                       : fmt::format(
                             "{{\"prompt\": \"q{0}\", \"answers\": [\"a\", \"bb\", \"c{0}\", "
                             "\"d\"], \"ranks\": [1, 2, 2, 3]}}\n",
                             i);
  }
  return text;
}

}  // namespace talaria::worker::test
