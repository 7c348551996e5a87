// SPDX-License-Identifier: Apache-2.0
#include "tests/support/ppo_job.h"

#include <fstream>

#include <fmt/format.h>

#include "cluster/base/error.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;

constexpr double kTimeout = 120;

std::string job_text(const fs::path& folder, const std::string& kind, const std::string& file,
                     const std::string& train) {
  const std::string data = (folder / "data").string();
  return fmt::format(
      "[job]\nname = \"{0}\"\nkind = \"{0}\"\nseed = 5\n\n[model]\nlayers = 2\nhidden = 64\n"
      "heads = 4\ncontext = 16\nvocab = 257\n\n[data]\ntokenizer = \"{1}/tokenizer\"\n"
      "files = [\"{2}\"]\ntemplate = \"plain\"\nvalidation = 0.05\n{3}\n"
      "[train]\nsequence_length = {4}\n{5}\n",
      kind, data, (folder / file).string(),
      kind == "ppo" ? fmt::format("sources = [{{ path = \"{}/text.tok\", weight = 1.0 }}]\n", data)
                    : "",
      kind == "reward" ? 32 : 16, train);
}

}  // namespace

void write_sums(const fs::path& folder) {
  std::ofstream text(folder / "text.txt");
  std::ofstream chat(folder / "chat.jsonl");
  std::ofstream compare(folder / "compare.jsonl");
  std::ofstream prompts(folder / "prompts.jsonl");
  for (int i = 0; i < 400; ++i) {
    const int a = i * 37 % 100;
    const int b = i * 61 % 97;
    text << fmt::format("{}+{}={}\n", a, b, a + b);
    chat << fmt::format("{{\"prompt\":\"{}+{}=\",\"completion\":\"{}\"}}\n", a, b, a + b);
    compare << fmt::format("{{\"prompt\":\"{}+{}=\",\"chosen\":\"{}\",\"rejected\":\"{}\"}}\n", a,
                           b, a + b, a * 7 % 90 + i % 9);
    prompts << fmt::format("{{\"prompt\":\"{}+{}=\",\"answer\":\"{}\"}}\n", a, b, a + b);
  }
}

const PpoJobOptions kSmallPpo = {
    .train = "steps = 6\nglobal_batch = 8\neval_every = 3\neval_samples = 3\n",
    .ppo =
        "rollout_batch = 16\nepochs = 2\nkl = \"adaptive\"\nkl_coefficient = 0.05\n"
        "kl_target = 0.5\nkl_horizon = 100.0\nentropy_coefficient = 0.01\ntemperature = 0.8\n"
        "value_learning_rate = 2e-3\nema = 0.9\nwhiten_rewards = true\n"
        "\n[mix]\nrows = 4\ncoefficient = 0.5\n"};

JobFolder make_ppo_folder(const fs::path& folder, const PpoJobOptions& options) {
  fs::remove_all(folder);
  fs::create_directories(folder);
  write_sums(folder);
  const std::string optimizer =
      "[optimizer]\nlearning_rate = {}\nwarmup_steps = {}\nweight_decay = 0.01\n";
  std::ofstream(folder / "sft.toml")
      << job_text(folder, "sft", "chat.jsonl", "steps = 80\nglobal_batch = 16\neval_samples = 8")
      << fmt::format(fmt::runtime(optimizer), "5e-3", 10);
  std::ofstream(folder / "reward.toml")
      << job_text(folder, "reward", "compare.jsonl",
                  "steps = 20\nglobal_batch = 16\neval_samples = 8")
      << fmt::format(fmt::runtime(optimizer), "3e-3", 5)
      << fmt::format("\n[start]\nweights = \"{}\"\n", (folder / "sft").string());
  std::ofstream(folder / "job.toml")
      << job_text(folder, "ppo", "prompts.jsonl", options.train)
      << fmt::format(fmt::runtime(optimizer), "5e-4", 2)
      << fmt::format(
             "\n[start]\nweights = \"{0}/sft\"\nreward = \"{0}/reward\"\n\n[rewards]\n"
             "rule = \"exact\"\nmodel = 0.5\nclip = 4.0\n\n[ppo]\nresponse_tokens = 5\n{1}",
             folder.string(), options.ppo);

  JobFolder jobs(folder, "", true);
  const ChildResult prepared = jobs.tool({"data", "prepare", "--out", (folder / "data").string(),
                                          "--vocab", "257", (folder / "text.txt").string()});
  if (prepared.exit_code != 0) fail("data prepare: {}", prepared.output);
  for (const char* run : {"sft", "reward"}) {
    RunPlan plan;
    plan.job_file = std::string(run) + ".toml";
    plan.micro_batch = 4;
    const ChildResult trained = jobs.run(run, plan, kTimeout);
    if (trained.exit_code != 0) fail("{}: {}", run, trained.output);
  }
  return jobs;
}

}  // namespace talaria::worker
