// SPDX-License-Identifier: Apache-2.0
// `talaria eval` on tiny models: every task's table and record, held against what training measured
// and what the models are known to say; the same over ranks; what is refused.
#include <cmath>
#include <filesystem>
#include <sstream>

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/base/subprocess.h"
#include "tests/support/text_fixtures.h"
#include "tests/system/use_models.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using testing::HasSubstr;

const std::string kWorker = std::string(TALARIA_BIN_DIR) + "/talaria-worker";
const std::string kTalaria = std::string(TALARIA_BIN_DIR) + "/talaria";

using Words = std::vector<std::string>;

class Eval : public testing::Test {
 protected:
  static void SetUpTestSuite() { models_ = new UseModels("eval"); }
  static void TearDownTestSuite() { delete models_; }

  static std::string run(const std::string& name) { return models_->run(name); }
  static Captured eval(const Words& args) {
    Words all = {kWorker, "eval"};
    all.insert(all.end(), args.begin(), args.end());
    return run_captured(all, 60);
  }
  static json::object record(Words args) {
    args.emplace_back("--json");
    const Captured result = eval(args);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return json::parse(result.out.empty() ? "{}" : result.out).as_object();
  }
  // On the ranks of mpirun, 2 x 2.
  static json::object record_of_ranks(const Words& args) {
    Words all = {"mpirun", "-n", "4", "--oversubscribe", "--bind-to", "none", kWorker, "eval"};
    all.insert(all.end(), args.begin(), args.end());
    all.insert(all.end(), {"--tensor", "2", "--pipeline", "2", "--json"});
    const ChildResult result = run_child(all, 120);
    EXPECT_EQ(result.exit_code, 0) << result.output;
    const std::size_t begin = result.output.find('{');
    return json::parse(begin == std::string::npos ? "{}" : result.output.substr(begin)).as_object();
  }
  // A number of a run's last line of metrics.
  static double measured(const std::string& name, const std::string& key) {
    const auto values = models_->jobs().metric("runs/" + name, key);
    return std::stod(values.empty() ? "nan" : values.rbegin()->second);
  }
  static std::vector<json::object> lines_of(const std::string& name) {
    std::vector<json::object> all;
    std::istringstream text(models_->read(name));
    for (std::string line; std::getline(text, line);) all.push_back(json::parse(line).as_object());
    return all;
  }
  static UseModels& models() { return *models_; }

 private:
  static inline UseModels* models_ = nullptr;
};

TEST_F(Eval, PerplexityOfTheValidationPartIsThatOfTraining) {
  const Words args = {"perplexity", "--run-dir", run("pretrain")};
  const json::object found = record(args);
  EXPECT_DOUBLE_EQ(found.at("nll").to_number<double>(), measured("pretrain", "validation_loss"));
  EXPECT_DOUBLE_EQ(found.at("perplexity").to_number<double>(),
                   std::exp(found.at("nll").to_number<double>()));
  EXPECT_NEAR(found.at("bits_per_byte").to_number<double>(),
              measured("pretrain", "validation_bits_per_byte"), 1e-9);
  EXPECT_EQ(record_of_ranks(args), found);
  const Captured table = eval(args);
  EXPECT_THAT(table.out, HasSubstr("of 96 tokens, do not overlap"));
  EXPECT_THAT(table.out, HasSubstr("perplexity "));
}

TEST_F(Eval, PerplexityOfTextCountsEveryByteOnce) {
  const std::string text = "int main() {\n  return caf\xC3\xA9;\n}\n" + std::string(900, 'x');
  const std::string file = models().write("some.txt", text);
  const Words args = {"perplexity", "--run-dir", run("pretrain"), "--text", file};
  const auto with_stride = [&](const std::string& stride) {
    Words all = args;
    all.insert(all.end(), {"--stride", stride});
    return record(all);
  };
  const json::object whole = record(args);
  EXPECT_EQ(whole.at("bytes").to_number<std::size_t>(), text.size());
  EXPECT_EQ(whole, with_stride("96"));
  const json::object near = with_stride("10");
  EXPECT_EQ(near.at("tokens"), whole.at("tokens"));
  EXPECT_GT(near.at("windows").to_number<int>(), whole.at("windows").to_number<int>());
  EXPECT_NE(near.at("nll"), whole.at("nll"));
  EXPECT_EQ(near.at("windows_lie").as_string(), "stride 10");
  // The same text as a token file is one document, whose end counts too.
  ASSERT_EQ(models()
                .jobs()
                .tool({"data", "prepare", "--tokenizer", models().path("data/tokenizer"), "--out",
                       models().path("some"), file})
                .exit_code,
            0);
  const json::object tokens = record(
      {"perplexity", "--run-dir", run("pretrain"), "--data", models().path("some/some.tok")});
  EXPECT_EQ(tokens.at("tokens").to_number<int>(), whole.at("tokens").to_number<int>() + 1);
  EXPECT_EQ(tokens.at("bytes"), whole.at("bytes"));
}

TEST_F(Eval, ExactMatch) {
  const std::string out = models().path("exact.jsonl");
  const Words args = {"exact", "--run-dir", run("sft"), models().questions(), "--out", out};
  const json::object found = record(args);
  const json::object& file = found.at("files").at(0).as_object();
  EXPECT_EQ(file.at("accuracy").to_number<double>(), 1.0);
  EXPECT_EQ(file.at("examples").to_number<std::size_t>(), kTalk.size());
  EXPECT_EQ(file.at("unfinished").to_number<int>(), 0);
  EXPECT_EQ(found.at("template").as_string(), "chatml");
  const auto lines = lines_of("exact.jsonl");
  ASSERT_EQ(lines.size(), kTalk.size());
  EXPECT_EQ(lines[0].at("prompt").as_string(), "What is red?");
  EXPECT_EQ(lines[0].at("answer").as_string(), "apple");
  EXPECT_TRUE(lines[0].at("correct").as_bool());
  EXPECT_EQ(record_of_ranks(args), found);
  // A wrong expectation is seen; a prompt's examples are turns.
  const std::string wrong =
      models().write("wrong.jsonl", R"({"prompt": "What is yellow?", "completion": " a lemon"})"
                                    "\n"
                                    R"({"prompt": "What is red?", "completion": "a lemon"})"
                                    "\n"
                                    R"({"prompt": "What is red?", "completion": " apple\n"})"
                                    "\n");
  const auto correct = [&](const Words& more) {
    Words all = {"exact", "--run-dir", run("sft"), wrong};
    all.insert(all.end(), more.begin(), more.end());
    return record(all).at("files").at(0).at("correct").to_number<int>();
  };
  EXPECT_EQ(correct({}), 2);
  EXPECT_EQ(correct({"--limit", "1"}), 1);
  EXPECT_EQ(correct({"--limit", "2"}), 1);
  EXPECT_THAT(eval({"exact", "--run-dir", run("sft"), wrong, "--shots", "1"}).out,
              HasSubstr("template chatml, 1 shots"));
}

TEST_F(Eval, InContextReadsTheFilesAsTheyAre) {
  const auto folder = test::shared_data("gpt3-arithmetic");
  if (folder.empty()) GTEST_SKIP() << "gpt3-arithmetic is missing";
  Words args = {"in-context", "--run-dir", run("pretrain"), "--shots", "2", "--limit", "20"};
  for (const char* name : {"two_digit_addition.jsonl", "sum_of_digits.jsonl"}) {
    args.push_back((folder / name).string());
  }
  const json::object found = record(args);
  ASSERT_EQ(found.at("files").as_array().size(), 2U);
  for (const json::value& file : found.at("files").as_array()) {
    EXPECT_EQ(file.at("examples").to_number<int>(), 20);
  }
  EXPECT_EQ(found.at("shots").to_number<int>(), 2);
}

TEST_F(Eval, InContextFindsTheLikeliestContinuation) {
  // A model that learnt five answers by heart.
  const std::vector<std::pair<std::string, std::string>> known = {
      {"red", "apple"}, {"sky", "blue"}, {"ice", "cold"}, {"dog", "barks"}, {"cat", "meows"}};
  std::string text;
  for (unsigned i = 0; i < 600; ++i) {
    const auto& [asked, said] = known[(i * 2654435761U >> 16) % known.size()];
    text += fmt::format("\n\nQ: {}?\n\nA: {}", asked, said);
  }
  models().write("heart.txt", text);
  ASSERT_EQ(models()
                .jobs()
                .tool({"data", "prepare", "--tokenizer", models().path("data/tokenizer"), "--out",
                       models().path("heart"), models().path("heart.txt")})
                .exit_code,
            0);
  models().train("heart", "pretrain",
                 fmt::format("validation = 0\nsources = [{{ path = \"{}\" }}]\n",
                             models().path("heart/heart.tok")),
                 300);
  std::string lines;
  for (const auto& [asked, said] : known) {
    lines += fmt::format("{{\"context\": \"\\n\\nQ: {}?\\n\\nA:\", \"completion\": \" {}\"}}\n",
                         asked, asked == "cat" ? "barks" : said);
  }
  const std::string file = models().write("heart.jsonl", lines);
  const json::object found =
      record({"in-context", "--run-dir", run("heart"), file, "--shots", "1"});
  EXPECT_EQ(found.at("files").at(0).at("examples").to_number<int>(), 4);
  EXPECT_EQ(found.at("files").at(0).at("correct").to_number<int>(), 3) << json::serialize(found);
}

TEST_F(Eval, RewardIsThatOfTraining) {
  const Words args = {"reward", "--run-dir", run("reward")};
  const json::object found = record(args);
  EXPECT_NEAR(found.at("loss").to_number<double>(), measured("reward", "validation_loss"), 1e-9);
  EXPECT_EQ(found.at("accuracy").to_number<double>(), measured("reward", "accuracy"));
  EXPECT_NEAR(found.at("margin").to_number<double>(), measured("reward", "margin"), 1e-6);
  ASSERT_EQ(found.at("calibration").as_array().size(), 5U);
  EXPECT_EQ(found.at("calibration").at(4).at("pairs").to_number<double>(),
            measured("reward", "calibration/0.9_pairs"));
  EXPECT_EQ(record_of_ranks(args), found);
  // The same pairs the other way round.
  const std::string swapped = models().write(
      "swapped.jsonl", R"({"prompt": "What is red?", "chosen": "dust", "rejected": "apple"})"
                       "\n"
                       R"({"prompt": "What is red?", "chosen": "apple", "rejected": "dust"})"
                       "\n"
                       "nonsense\n");
  const json::object half =
      record({"reward", "--run-dir", run("reward"), swapped, "--max-bad", "1"});
  EXPECT_EQ(half.at("accuracy").to_number<double>(), 0.5);
  EXPECT_THAT(std::string(half.at("skipped").as_string()), HasSubstr("1 bad"));
  EXPECT_THAT(eval({"reward", "--run-dir", run("reward")}).out, HasSubstr("0.9 to 1.0"));
}

TEST_F(Eval, WinRateByARewardModelAndByARule) {
  const std::string out = models().path("duel.jsonl");
  Words args = {"win-rate",           "--a",      run("sft"), "--b",           run("pretrain"),
                models().questions(), "--tokens", "24",       "--temperature", "0"};
  const auto with = [&](const Words& more) {
    Words all = args;
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const Words judged = with({"--judge", run("reward"), "--out", out});
  const json::object found = record(judged);
  EXPECT_EQ(found.at("prompts").to_number<std::size_t>(), kTalk.size());
  EXPECT_EQ(found.at("stopped_a").to_number<double>(), 1.0);
  const auto lines = lines_of("duel.jsonl");
  ASSERT_EQ(lines.size(), kTalk.size());
  double sum = 0.0;
  int wins = 0;
  for (const json::object& line : lines) {
    sum += line.at("score_a").to_number<double>();
    wins += line.at("winner").as_string() == "a" ? 1 : 0;
  }
  EXPECT_NEAR(found.at("mean_a").to_number<double>(), sum / static_cast<double>(lines.size()),
              1e-9);
  EXPECT_EQ(found.at("wins").to_number<int>(), wins);
  EXPECT_EQ(lines[0].at("a").as_string(), "apple");
  EXPECT_EQ(lines[0].at("winner").as_string(),
            lines[0].at("score_a").to_number<double>() > lines[0].at("score_b").to_number<double>()
                ? "a"
                : "b");
  EXPECT_EQ(record_of_ranks(judged), found);
  EXPECT_THAT(eval(judged).out, HasSubstr("win rate of a (95 %)"));
  const json::object rule = record(with({"--rule", "exact"}));
  EXPECT_EQ(rule.at("win_rate").to_number<double>(), 1.0);
  EXPECT_EQ(rule.at("judge").as_string(), "rule exact");
  EXPECT_EQ(record(with({"--rule", "match", "--pattern", "apple|lemon"})).at("wins"), 2);
  // A model against itself: the same seeds, the same answers, ties.
  args = {"win-rate",
          "--a",
          run("sft"),
          "--b",
          run("sft") + "/checkpoints/step-00000120",
          models().questions(),
          "--tokens",
          "24",
          "--temperature",
          "1.5"};
  const json::object itself = record(with({"--judge", run("reward")}));
  EXPECT_EQ(itself.at("ties").to_number<std::size_t>(), kTalk.size());
  EXPECT_EQ(itself.at("win_rate").to_number<double>(), 0.5);
}

TEST_F(Eval, RefusesWhatItCannotDo) {
  const auto refused = [](const Words& args, const std::string& part) {
    const Captured result = eval(args);
    EXPECT_EQ(result.exit_code, 2) << result.out << result.err;
    EXPECT_THAT(result.err, HasSubstr(part));
  };
  const std::string asked = models().questions();
  refused({"perplexity"}, "name a run with --run-dir");
  refused({"perplexity", "--run-dir", run("sft")}, "no data.sources");
  refused({"perplexity", "--run-dir", run("pretrain"), "--stride", "8"},
          "windows of the validation");
  refused({"perplexity", "--run-dir", run("pretrain"), "--text", asked, "--stride", "97"},
          "allowed are 1 to 96");
  refused({"perplexity", "--run-dir", run("pretrain"), "--text", "/none"}, "no such file");
  refused({"perplexity", "--run-dir", run("reward")}, "a reward model");
  refused({"reward", "--run-dir", run("sft")}, "a language model (its head gives words");
  refused({"exact", "--run-dir", run("sft"), asked, "--shots", "4"}, "leaves none");
  refused({"exact", "--run-dir", run("sft"), models().write("bad.jsonl", "{\"prompt\": \"x\"}\n")},
          "bad.jsonl:1: no expected answer");
  refused({"in-context", "--run-dir", run("sft"), asked},
          "questions.jsonl:1: no string \"context\"");
  refused({"win-rate", "--a", run("sft"), "--b", run("pretrain"), asked}, "who judges?");
  refused({"win-rate", "--a", run("sft"), "--b", run("reward"), asked, "--rule", "exact"},
          "a reward model");
  refused({"win-rate", "--a", run("sft"), "--b", run("sft"), asked, "--judge", run("pretrain")},
          "a language model");
  refused({"win-rate", "--a", run("sft"), "--b", run("sft"), asked, "--rule", "near"},
          "--rule: kind \"near\" is unknown");
  refused({"win-rate", "--a", run("pretrain"), "--b", run("pretrain"), asked, "--rule", "exact"},
          "--template: no job of these models names one");
  refused({"win-rate", "--a", run("sft"), "--b", run("sft"), asked, "--judge", run("reward"),
           "--tokens", "96"},
          "have to fit 96 tokens");
  const std::string plain = models().write("plain.jsonl", "{\"prompt\": \"What is red?\"}\n");
  refused({"win-rate", "--a", run("sft"), "--b", run("sft"), plain, "--rule", "exact"},
          "plain.jsonl:1: no \"answer\"");
  refused({"win-rate", "--a", run("sft"), "--b", run("sft"), asked, "--rule", "match", "--pattern",
           "(.+)", "--group", "number"},
          "questions.jsonl:1: the \"answer\" \"apple\" is no number");
}

TEST_F(Eval, RefusesModelsOfAnotherTokenizer) {
  ASSERT_EQ(models()
                .jobs()
                .tool({"data", "prepare", "--vocab", "400", "--out", models().path("other"),
                       models().path("headers.txt")})
                .exit_code,
            0);
  models().train("other", "pretrain",
                 fmt::format("validation = 0\nsources = [{{ path = \"{}\" }}]\n",
                             models().path("other/headers.tok")),
                 2, "other/tokenizer");
  const Captured result = eval({"win-rate", "--a", run("sft"), "--b", run("other"),
                                models().questions(), "--rule", "exact"});
  EXPECT_EQ(result.exit_code, 2) << result.out;
  EXPECT_THAT(result.err, HasSubstr("allowed: models of one tokenizer"));
  const Captured data =
      eval({"perplexity", "--run-dir", run("sft"), "--data", models().path("other/headers.tok")});
  EXPECT_EQ(data.exit_code, 2) << data.out;
  EXPECT_THAT(data.err, HasSubstr("prepare the text with that one"));
  const Captured named = eval({"exact", "--run-dir", run("sft"), "--tokenizer",
                               models().path("other/tokenizer"), models().questions()});
  EXPECT_EQ(named.exit_code, 2) << named.out;
  EXPECT_THAT(named.err, HasSubstr("other/tokenizer: another tokenizer ("));
}

TEST_F(Eval, EveryTaskExplainsItself) {
  for (const Words& words :
       {Words{"chat"}, Words{"eval"}, Words{"eval", "perplexity"}, Words{"eval", "exact"},
        Words{"eval", "in-context"}, Words{"eval", "reward"}, Words{"eval", "win-rate"}}) {
    Words all = {kTalaria};
    all.insert(all.end(), words.begin(), words.end());
    all.emplace_back("--help");
    const Captured help = run_captured(all, 20);
    EXPECT_EQ(help.exit_code, 0) << help.err;
    EXPECT_THAT(help.out, HasSubstr(words.back() == "eval" ? "win-rate" : "--threads"));
  }
  const Captured completion = run_captured({kTalaria, "completion", "bash"}, 20);
  EXPECT_THAT(completion.out,
              HasSubstr("eval) words='perplexity exact in-context reward win-rate"));
}

}  // namespace
}  // namespace talaria::worker
