// SPDX-License-Identifier: Apache-2.0
// Models go to Hugging Face's format and come back through the command `talaria`; what they compute
// is judged by a GPT-2 in PyTorch that reads the exported bytes itself.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include <boost/json.hpp>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "cluster/base/file.h"
#include "storage/checkpoint/reader.h"
#include "tests/support/run_job.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr double kTimeout = 120;

std::string python() {
  const char* named = std::getenv("TALARIA_TEST_PYTHON");
  return named != nullptr ? named : "python3";
}

bool has_torch() {
  static const bool found = run_child({python(), "-c", "import torch"}, kTimeout).exit_code == 0;
  return found;
}

#define TALARIA_NEEDS_TORCH \
  if (!has_torch()) GTEST_SKIP() << "needs PyTorch: python3-torch, or $TALARIA_TEST_PYTHON"

class HuggingFace : public testing::Test {
 protected:
  // A run of 8 ranks: its checkpoint has many boxes.
  static void SetUpTestSuite() {
    jobs_ = new JobFolder(fs::temp_directory_path() / fmt::format("talaria_hf_{}", ::getpid()),
                          kTinyModel);
    RunPlan plan;
    plan.layout = {2, 2, 2};
    plan.set = {"train.steps=4"};
    const ChildResult run = jobs_->run("run", plan, kTimeout);
    ASSERT_EQ(run.exit_code, 0) << run.output;
  }
  static void TearDownTestSuite() {
    fs::remove_all(jobs_->path());
    delete jobs_;
  }

  // `talaria checkpoint ...` in the jobs' folder.
  static ChildResult checkpoint(const std::vector<std::string>& args) {
    std::vector<std::string> argv = {"env", "-C", jobs_->path().string(),
                                     std::string(TALARIA_BIN_DIR) + "/talaria", "checkpoint"};
    argv.insert(argv.end(), args.begin(), args.end());
    return run_child(argv, kTimeout);
  }
  static void done(const std::vector<std::string>& args) {
    const ChildResult result = checkpoint(args);
    EXPECT_EQ(result.exit_code, 0) << result.output;
  }
  static void refused(const std::vector<std::string>& args, const std::string& part) {
    const ChildResult result = checkpoint(args);
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_THAT(result.output, HasSubstr(part));
    EXPECT_EQ(std::count(result.output.begin(), result.output.end(), '\n'), 1) << result.output;
  }
  static fs::path path(const std::string& name) { return jobs_->path() / name; }
  static std::string hash_of(const fs::path& dir) {
    return storage::CheckpointReader(dir).manifest().weights_hash;
  }
  static fs::path step0(const std::string& run) {
    return path(run) / "checkpoints" / storage::step_name(0);
  }

  // Both programs' logits of these ids: the largest difference, and the largest logit.
  static void expect_equal_logits(const fs::path& folder, const fs::path& dir, std::int64_t vocab,
                                  double tolerance = 1e-4) {
    std::vector<std::string> ids(32);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      ids[i] = std::to_string((static_cast<std::int64_t>(i) * 37 + 11) % vocab);
    }
    std::vector<std::string> ours = {std::string(TALARIA_BIN_DIR) + "/print_logits", dir.string(),
                                     path("ours").string()};
    std::vector<std::string> theirs = {
        python(), std::string(TALARIA_SOURCE_DIR) + "/tests/system/hugging_face.py", "logits",
        folder.string(), path("theirs").string()};
    for (auto* argv : {&ours, &theirs}) {
      argv->insert(argv->end(), ids.begin(), ids.end());
      const ChildResult result = run_child(*argv, kTimeout);
      ASSERT_EQ(result.exit_code, 0) << result.output;
    }
    const std::vector<float> a = floats("ours");
    const std::vector<float> b = floats("theirs");
    ASSERT_EQ(a.size(), static_cast<std::size_t>(vocab) * ids.size());
    ASSERT_EQ(b.size(), a.size());
    double worst = 0.0;
    double largest = 0.0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      worst = std::max(worst, std::abs(static_cast<double>(a[i]) - b[i]));
      largest = std::max(largest, std::abs(static_cast<double>(a[i])));
    }
    fmt::print("largest difference {:.2e} of logits up to {:.2f}\n", worst, largest);
    EXPECT_GT(largest, 0.1);
    EXPECT_LE(worst, tolerance);
  }

  static JobFolder* jobs_;

 private:
  static std::vector<float> floats(const std::string& name) {
    const std::string bytes = read_file(path(name));
    std::vector<float> values(bytes.size() / sizeof(float));
    std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
    return values;
  }
};
JobFolder* HuggingFace::jobs_ = nullptr;

TEST_F(HuggingFace, ARunGoesThereAndBack) {
  const ChildResult out = checkpoint({"export", "run", "--out", "hf/", "--json"});
  ASSERT_EQ(out.exit_code, 0) << out.output;
  const boost::json::value told = boost::json::parse(out.output);
  EXPECT_EQ(told.at("weights_hash").as_string(), jobs_->weights_hash("run"));
  EXPECT_EQ(boost::json::serialize(told.at("files")),
            R"(["config.json","merges.txt","model.safetensors","tokenizer.json",)"
            R"("tokenizer_config.json","vocab.json"])");
  const ChildResult in = checkpoint({"import", "hf", "--out", "back", "--json"});
  ASSERT_EQ(in.exit_code, 0) << in.output;
  EXPECT_EQ(boost::json::parse(in.output).at("weights_hash").as_string(),
            jobs_->weights_hash("run"));
  EXPECT_EQ(jobs_->weights_hash("back"), jobs_->weights_hash("run"));
  for (const char* file : {"encoder.json", "vocab.bpe"}) {
    EXPECT_EQ(read_file(path("back/tokenizer") / file), read_file(path("data/tokenizer") / file));
  }
  // Again, to the same bytes; and in shards.
  done({"export", "back/checkpoints/step-00000000/", "--out", "hf2"});
  EXPECT_EQ(read_file(path("hf2/model.safetensors")), read_file(path("hf/model.safetensors")));
  done({"export", "back", "--out", "hf3", "--max-shard-bytes", "200000", "--no-tokenizer"});
  EXPECT_TRUE(fs::exists(path("hf3/model.safetensors.index.json")));
  done({"import", "hf3", "--out", "back3"});
  EXPECT_EQ(jobs_->weights_hash("back3"), jobs_->weights_hash("run"));
  EXPECT_FALSE(fs::exists(path("back3/tokenizer")));
  // Nothing temporary stays.
  for (const auto& entry : fs::directory_iterator(jobs_->path())) {
    EXPECT_FALSE(entry.path().filename().string().starts_with(".")) << entry.path();
  }
  done({"verify", step0("back").string()});
}

TEST_F(HuggingFace, AnImportedModelWritesTheSameText) {
  done({"export", "run", "--out", "text-hf"});
  done({"import", "text-hf", "--out", "text-run", "--tokenizer-out", "text-tokenizer"});
  const auto text = [](const std::string& run) {
    const ChildResult result = jobs_->tool({"generate", "--run-dir", path(run).string(), "--prompt",
                                            "int main", "--tokens", "20", "--threads", "1"});
    EXPECT_EQ(result.exit_code, 0) << result.output;
    return result.output;
  };
  EXPECT_EQ(text("text-run"), text("run"));
  EXPECT_TRUE(fs::exists(path("text-tokenizer/encoder.json")));
}

TEST_F(HuggingFace, AnImportedModelIsMeasuredOnTextThatIsNamed) {
  done({"export", "run", "--out", "measured-hf"});
  done({"import", "measured-hf", "--out", "measured"});
  const std::string run = path("measured").string();
  const ChildResult none = jobs_->tool({"eval", "perplexity", "--run-dir", run});
  EXPECT_EQ(none.exit_code, 2) << none.output;
  EXPECT_THAT(
      none.output,
      HasSubstr("measured/checkpoints/step-00000000: imported, so it has no validation data "
                "of its own; name text with --data or --text\n"));
  const ChildResult some =
      jobs_->tool({"eval", "perplexity", "--run-dir", run, "--data",
                   path("data/headers.tok").string(), "--limit", "4", "--json"});
  EXPECT_EQ(some.exit_code, 0) << some.output;
}

TEST_F(HuggingFace, PyTorchComputesWhatWeExport) {
  TALARIA_NEEDS_TORCH;
  const fs::path dir = jobs_->checkpoints("run").back();
  done({"export", dir.string(), "--out", "judged"});
  expect_equal_logits(path("judged"), dir, 512);
  for (const char* type : {"bf16", "f16"}) {
    const std::string name = fmt::format("judged-{}", type);
    done({"export", dir.string(), "--out", name, "--dtype", type, "--max-shard-bytes", "100000"});
    done({"import", name, "--out", name + "-run"});
    expect_equal_logits(path(name), step0(name + "-run"), 512);
  }
}

TEST_F(HuggingFace, WeComputeWhatPyTorchMade) {
  TALARIA_NEEDS_TORCH;
  const ChildResult made =
      run_child({python(), std::string(TALARIA_SOURCE_DIR) + "/tests/system/hugging_face.py",
                 "make", path("made").string(), "7"},
                kTimeout);
  ASSERT_EQ(made.exit_code, 0) << made.output;
  done({"import", "made", "--out", "made-run"});
  expect_equal_logits(path("made"), step0("made-run"), 301);
  done({"export", "made-run", "--out", "made-again", "--no-tokenizer"});
  done({"import", "made-again", "--out", "made-run2"});
  EXPECT_EQ(hash_of(step0("made-run2")), hash_of(step0("made-run")));
}

TEST_F(HuggingFace, NoRunContinuesFromWeightsOnly) {
  done({"export", "run", "--out", "only-hf"});
  done({"import", "only-hf", "--out", "only"});
  const ChildResult result = jobs_->run("only", {}, kTimeout);
  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_THAT(result.output, HasSubstr("step-00000000: holds weights only, without the optimizer's "
                                       "moments (adam_m, adam_v)"));
}

TEST_F(HuggingFace, WrongUseIsOneLineAndExitCode2) {
  done({"export", "run", "--out", "bad-hf"});
  refused({"export", "run", "--out", "bad-hf"}, "bad-hf: is there already; choose another --out");
  refused({"export", "run"}, "--out is required");
  refused({"export", "no such", "--out", "x"}, "no such");
  refused({"export", "data", "--out", "x"}, "no checkpoint that verifies");
  refused({"export", "run", "--out", "x", "--dtype", "int8"}, "int8");
  refused({"export", "run", "--out", "x", "--max-shard-bytes", "0"}, "0");
  refused({"import", "data", "--out", "x"}, "config.json: no such file");
  refused({"import", "bad-hf", "--out", "run"}, "checkpoints: holds checkpoints already");
  refused({"import", "bad-hf", "--out", "x/step-00000005"}, "an imported checkpoint is of step 0");
  EXPECT_FALSE(fs::exists(path("x")));

  // A damaged checkpoint is not exported; a file that is cut short is not imported.
  fs::copy(path("run"), path("damaged"), fs::copy_options::recursive);
  const fs::path dir = path("damaged/checkpoints") / jobs_->checkpoints("run").back().filename();
  fs::resize_file(dir / "shard-00003-of-00008.h5", 4096);
  const ChildResult damaged = checkpoint({"export", dir.string(), "--out", "x"});
  EXPECT_EQ(damaged.exit_code, 1);
  EXPECT_THAT(damaged.output, HasSubstr("shard-00003-of-00008.h5"));
  EXPECT_FALSE(fs::exists(path("x")));
  fs::resize_file(path("bad-hf/model.safetensors"), 10000);
  refused({"import", "bad-hf", "--out", "y"}, "of the data, of which the file has");
  EXPECT_FALSE(fs::exists(path("y")));
}

TEST_F(HuggingFace, HelpNamesBoth) {
  const ChildResult help = checkpoint({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.output, HasSubstr("\n  import "));
  EXPECT_THAT(help.output, HasSubstr("\n  export "));
  done({"import", "--help"});
  done({"export", "--help"});
}

}  // namespace
}  // namespace talaria::worker
