// SPDX-License-Identifier: Apache-2.0
#include "worker/generate.h"

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>

#include "cluster/base/error.h"
#include "worker/exchange.h"
#include "worker/inference_model.h"
#include "worker/model_options.h"
#include "worker/prompt_file.h"
#include "worker/text_stream.h"

namespace talaria::worker {
namespace {

struct GenerateOptions {
  InferenceOptions model;
  std::string prompt;
  std::filesystem::path prompts;
  std::int64_t tokens = 200;
  std::int64_t slots = 8;
  model::SamplerOptions sampler = {.temperature = 0.8, .top_k = 40};
  bool json = false;
};

// A prompt on its way to all its tokens.
struct Work {
  std::string prompt;
  std::vector<std::int32_t> ids;  // the prompt's, then the drawn
  std::size_t drawn = 0;
  bool stopped = false;

  bool ended(std::int64_t tokens) const {
    return stopped || static_cast<std::int64_t>(drawn) == tokens;
  }
};

// Prints on the leading rank: one prompt as it comes, several each when it has ended, in order.
class Printer {
 public:
  Printer(const GenerateOptions& options, InferenceModel& model, const std::vector<Work>& all)
      : options_(options), model_(model), all_(all), streams_(!options.json && all.size() == 1) {
    if (streams_) write(all[0].prompt);
  }

  void token(std::int32_t id) {
    if (streams_ && id != model_.tokenizer().end_of_text()) {
      write(stream_.push(model_.tokenizer().bytes_of(id)));
    }
  }

  // Some prompts may have ended.
  void flush() {
    for (; next_ < all_.size() && all_[next_].ended(options_.tokens); ++next_) {
      if (streams_) {
        write("\n");
      } else {
        write(options_.json ? json_of(all_[next_])
                            : all_[next_].prompt + text_of(all_[next_]) + "\n\n");
      }
    }
  }

 private:
  void write(const std::string& text) const {
    if (!model_.leads()) return;
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  }

  std::vector<std::int32_t> drawn_of(const Work& work) const {
    return {work.ids.end() - static_cast<std::ptrdiff_t>(work.drawn), work.ids.end()};
  }

  std::string text_of(const Work& work) const {
    TextStream stream;
    std::string text;
    for (const std::int32_t id : drawn_of(work)) {
      if (id != model_.tokenizer().end_of_text()) {
        text += stream.push(model_.tokenizer().bytes_of(id));
      }
    }
    return text;
  }

  std::string json_of(const Work& work) const {
    boost::json::array ids;
    for (const std::int32_t id : drawn_of(work)) ids.push_back(id);
    return boost::json::serialize(boost::json::object{{"prompt", work.prompt},
                                                      {"text", text_of(work)},
                                                      {"tokens", std::move(ids)},
                                                      {"stopped", work.stopped}}) +
           "\n";
  }

  const GenerateOptions& options_;
  InferenceModel& model_;
  const std::vector<Work>& all_;
  bool streams_;
  TextStream stream_;
  std::size_t next_ = 0;
};

std::vector<Work> read_work(const GenerateOptions& options, const InferenceModel& model) {
  std::vector<std::string> prompts = {options.prompt};
  if (!options.prompts.empty()) prompts = read_prompts(options.prompts);
  std::vector<Work> all;
  for (std::string& prompt : prompts) {
    Work work;
    work.ids = model.tokenizer().encode(prompt);
    // An empty prompt is the beginning of a document.
    if (work.ids.empty()) work.ids.push_back(model.tokenizer().end_of_text());
    if (const auto count = static_cast<std::int64_t>(work.ids.size());
        count >= model.job().model.context) {
      fail_usage("prompt {}: {} tokens leave no room in the model's context of {}; shorten it",
                 all.size() + 1, count, model.job().model.context);
    }
    work.prompt = std::move(prompt);
    all.push_back(std::move(work));
  }
  return all;
}

// Continues what has not ended within one context. A text that has filled it goes on from its last
// half.
void run_window(const GenerateOptions& options, model::Generator& generator,
                const InferenceModel& model, std::uint64_t window, std::vector<Work>& all,
                Printer& printer) {
  std::vector<model::Prompt> prompts;
  std::vector<std::size_t> of_work;
  model::GenerationOptions generation;
  generation.sampler = options.sampler;
  generation.max_tokens = options.tokens;
  generation.stop_ids = {model.tokenizer().end_of_text()};
  generation.vocab = model.tokenizer().vocab_size();
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Work& work = all[i];
    if (work.ended(options.tokens)) continue;
    model::Prompt prompt;
    const std::int64_t keep = model.job().model.context / 2;
    const auto count = static_cast<std::int64_t>(work.ids.size());
    prompt.ids.assign(window == 0 || count <= keep ? work.ids.begin() : work.ids.end() - keep,
                      work.ids.end());
    prompt.key = i | window << 32;
    prompts.push_back(std::move(prompt));
    of_work.push_back(i);
    generation.max_tokens =
        std::min(generation.max_tokens, options.tokens - static_cast<std::int64_t>(work.drawn));
  }
  generator.generate(prompts, generation, [&](std::size_t prompt, std::int32_t id) {
    Work& work = all[of_work[prompt]];
    work.ids.push_back(id);
    ++work.drawn;
    work.stopped = id == model.tokenizer().end_of_text();
    printer.token(id);
    if (work.ended(options.tokens)) printer.flush();
  });
}

int generate(const GenerateOptions& options, parallel::Process* process) {
  int code = kExitDone;
  const std::unique_ptr<InferenceModel> model = InferenceModel::open(process, options.model, code);
  if (!model) return code;
  std::vector<Work> all;
  code = agree(*model->groups().world, [&] { all = read_work(options, *model); });
  if (code != kExitDone) return code;
  model::Generator generator =
      model->make_generator(std::min(options.slots, static_cast<std::int64_t>(all.size())));
  Printer printer(options, *model, all);
  const auto unfinished = [&](const Work& work) { return !work.ended(options.tokens); };
  for (std::uint64_t window = 0; std::any_of(all.begin(), all.end(), unfinished); ++window) {
    run_window(options, generator, *model, window, all, printer);
  }
  return kExitDone;
}

void add_options(CLI::App& app, GenerateOptions& options) {
  add_model_choice(app, options.model);
  auto* prompt =
      app.add_option("--prompt", options.prompt, "text to continue; empty: a new document");
  app.add_option("--prompts", options.prompts,
                 "many: a .jsonl file with \"prompt\" in each line, or a text file of lines")
      ->excludes(prompt);
  app.add_flag("--json", options.json, "a line of JSON a prompt: prompt, text, tokens, stopped");
  app.add_option("--tokens", options.tokens, "most tokens to generate, of each prompt")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  add_sampler(app, options.sampler);
  app.add_option("--batch", options.slots, "prompts continued at once; changes no text")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  add_ranks(app, options.model);
}

}  // namespace

int generate_command(int argc, char** argv, bool under_mpirun) {
  GenerateOptions options;
  CLI::App app("Continues prompts with the model of a checkpoint. The text goes to stdout.",
               argv[0]);
  add_options(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitDone : kExitUsage;
  }
  check_model_choice(argv[0], options.model);
  return on_ranks(under_mpirun, options.model.layout,
                  [&](parallel::Process* process) { return generate(options, process); });
}

}  // namespace talaria::worker
