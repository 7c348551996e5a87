// SPDX-License-Identifier: Apache-2.0
// How fast text becomes ids on one core, beside what limits it in the same run: reading the bytes,
// and cutting them into words.
//   bench_tokenize [--text FILE] [--tokenizer DIR] [--json]
// Without --text it invents prose; without --tokenizer it trains one of 8192 ids on the text.
#include <algorithm>
#include <ctime>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <fmt/core.h>

#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "storage/text/encoder.h"
#include "storage/text/hash.h"
#include "storage/text/tokenizer_training.h"

namespace {

using talaria::storage::Encoder;
using talaria::storage::Tokenizer;

constexpr int kRounds = 9;
constexpr std::size_t kTextBytes = 4'000'000;

struct Measurement {
  std::string name;
  double best = 0;  // MB/s
  double worst = 0;
};

// CPU time of this thread: what one core would take, also on a busy machine.
double thread_seconds() {
  timespec now{};
  talaria::check_sys(::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now), "clock_gettime", "thread");
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Speeds over `kRounds` runs of `work`, which goes over `bytes` bytes.
Measurement measure(const std::string& name, std::size_t bytes, const std::function<void()>& work) {
  Measurement result{name};
  for (int round = 0; round < kRounds; ++round) {
    const double start = thread_seconds();
    work();
    const double seconds = thread_seconds() - start;
    const double speed = static_cast<double>(bytes) / 1e6 / seconds;
    result.best = std::max(result.best, speed);
    result.worst = round == 0 ? speed : std::min(result.worst, speed);
  }
  return result;
}

// Words of an invented vocabulary of 20,000, with Zipf's frequencies, in sentences.
std::string invent_prose(std::size_t bytes) {
  std::mt19937_64 random(1);
  std::vector<std::string> words(20000);
  for (std::string& word : words) {
    for (std::size_t letters = 2 + random() % 9; letters > 0; --letters) {
      word += "eeeettaaooiinnsshhrrdlucmfwypvbgk"[random() % 33];
    }
  }
  std::vector<double> weights;
  for (std::size_t i = 0; i < words.size(); ++i)
    weights.push_back(1.0 / static_cast<double>(i + 3));
  std::discrete_distribution<std::size_t> pick(weights.begin(), weights.end());
  std::string text;
  while (text.size() < bytes) {
    text += words[pick(random)];
    const auto end = random() % 40;
    text += end == 0 ? ".\n\n" : end == 1 ? ".\n" : end < 4 ? ", " : " ";
  }
  return text;
}

std::vector<Measurement> run(const std::string& text, const Tokenizer& tokenizer,
                             std::size_t& tokens) {
  std::vector<Measurement> results;
  std::string copy(text.size(), '\0');
  results.push_back(measure("copy the bytes", text.size(),
                            [&] { std::copy(text.begin(), text.end(), copy.begin()); }));
  std::uint64_t hash = 0;
  results.push_back(measure("hash the bytes (XXH3)", text.size(),
                            [&] { hash += talaria::storage::content_hash(text); }));
  const auto pattern = std::make_shared<talaria::storage::WordPattern>();
  std::size_t words = 0;
  results.push_back(measure("cut into words", text.size(), [&] {
    talaria::storage::WordSplitter splitter(pattern);
    splitter.start(text);
    for (std::string_view word; splitter.next(word);) ++words;
  }));
  std::vector<std::int32_t> ids;
  results.push_back(measure("encode, cold cache", text.size(), [&] {
    ids.clear();
    Encoder(tokenizer).encode(text, ids);
  }));
  Encoder encoder(tokenizer);
  results.push_back(measure("encode, warm cache", text.size(), [&] {
    ids.clear();
    encoder.encode(text, ids);
  }));
  tokens = ids.size();
  TALARIA_CHECK(tokenizer.decode(ids) == text && copy == text && words > 0 && hash != 1);
  return results;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("MB/s a core of byte-level BPE");
  std::string text_path;
  std::string tokenizer_path;
  bool as_json = false;
  app.add_option("--text", text_path, "a text file");
  app.add_option("--tokenizer", tokenizer_path, "a folder with encoder.json and vocab.bpe");
  app.add_flag("--json", as_json, "one JSON object");
  CLI11_PARSE(app, argc, argv);
  try {
    const std::vector<std::string> texts = {text_path.empty() ? invent_prose(kTextBytes)
                                                              : talaria::read_file(text_path)};
    talaria::ThreadPool pool(1);
    const Tokenizer tokenizer = tokenizer_path.empty()
                                    ? talaria::storage::train_tokenizer(texts, 8192, pool)
                                    : Tokenizer::load(tokenizer_path);
    std::size_t tokens = 0;
    const std::vector<Measurement> results = run(texts[0], tokenizer, tokens);
    const double limit = results[2].best;
    boost::json::array rows;
    for (const Measurement& row : results) {
      if (!as_json) {
        fmt::print("{:<24} {:>9.1f} MB/s (slowest of {}: {:.1f})  {:>6.2f} of the splitter\n",
                   row.name, row.best, kRounds, row.worst, row.best / limit);
      }
      rows.push_back({{"name", row.name},
                      {"mb_per_second", row.best},
                      {"slowest", row.worst},
                      {"of_limit", row.best / limit}});
    }
    if (as_json) {
      const boost::json::object record{{"bench", "tokenize"},
                                       {"text_bytes", texts[0].size()},
                                       {"vocab", tokenizer.vocab_size()},
                                       {"tokens", tokens},
                                       {"results", std::move(rows)}};
      fmt::print("{}\n", boost::json::serialize(record));
    } else {
      fmt::print("{} bytes, {} tokens of a vocabulary of {}, MB/s of CPU time\n", texts[0].size(),
                 tokens, tokenizer.vocab_size());
    }
  } catch (const talaria::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return talaria::kExitFailed;
  }
  return talaria::kExitDone;
}
