// SPDX-License-Identifier: Apache-2.0
#include "launch/job.h"

#include <algorithm>
#include <utility>

#include "cluster/base/error.h"
#include "cluster/base/text.h"
#include "launch/job_keys.h"
#include "launch/job_reader.h"

namespace talaria::launch {

JobReader::JobReader(const ConfigFile& file) {
  ConfigTable root = file.root();
  if (root.has("stage")) {
    root.refuse(
        "stage",
        "this file has job stages ([[stage]]), which `talaria run` runs one after the other; "
        "allowed here: one job stage, its tables at the top level");
  }
  for (const JobKey& key : job_keys()) {
    if (!tables_.contains(key.table())) {
      tables_.emplace(key.table(), root.table_or_empty(key.table()));
    }
  }
  root.finish();
}

const ConfigTable& JobReader::table_of(const std::string& name) const {
  const auto at = tables_.find(name.substr(0, name.find('.')));
  TALARIA_CHECK(at != tables_.end(), "no table of {}", name);
  return at->second;
}

bool JobReader::given(const std::string& name) const {
  return table_of(name).has(name.substr(name.find('.') + 1));
}

std::optional<std::int64_t> JobReader::integer(const std::string& name) const {
  ConfigTable table = table_of(name);
  return table.integer(name.substr(name.find('.') + 1));
}

void JobReader::refuse(const std::string& name, const std::string& message) const {
  table_of(name).refuse(name.substr(name.find('.') + 1), message);
}

Job JobReader::read() {
  Job job;
  read_preset(job);
  for (const JobKey& key : job_keys()) read_key(key, job);
  for (const auto& [name, table] : tables_) table.finish();
  return job;
}

void JobReader::read_preset(Job& job) {
  std::vector<std::string> names;
  for (const Preset& preset : model_presets()) names.push_back(preset.name);
  if (const auto index = tables_.at("model").choice("preset", names)) {
    const Preset& preset = model_presets()[static_cast<std::size_t>(*index)];
    job.model.layers = preset.layers;
    job.model.hidden = preset.hidden;
    job.model.heads = preset.heads;
    job.model.context = preset.context;
  }
}

void JobReader::read_key(const JobKey& key, Job& job) {
  ConfigTable& table = tables_.at(key.table());
  const Field field = key.field == nullptr ? Field{} : key.field(job);
  switch (key.type) {
    case KeyType::kInteger:
      if (const auto value = table.integer(key.key(), key.integers)) {
        if (auto* const* to = std::get_if<std::int64_t*>(&field)) **to = *value;
        if (auto* const* to = std::get_if<int*>(&field)) **to = static_cast<int>(*value);
        if (auto* const* to = std::get_if<std::uint64_t*>(&field)) {
          **to = static_cast<std::uint64_t>(*value);
        }
      }
      break;
    case KeyType::kReal:
      if (const auto value = table.real(key.key(), key.reals)) {
        // The kernels use float: 0.999999999 would become 1 there, 1e-60 would become 0.
        const auto used = static_cast<double>(static_cast<float>(*value));
        if ((key.reals.open_low && used <= key.reals.low) ||
            (key.reals.open_high && used >= key.reals.high)) {
          refuse(key.name,
                 fmt::format("found {}, which rounds to {:g} in single precision; allowed: {}",
                             *value, used, describe(key.reals)));
        }
        *std::get<double*>(field) = *value;
      }
      break;
    case KeyType::kBoolean:
      if (const auto value = table.boolean(key.key())) {
        if (key.only_false && *value) {
          refuse(key.name, "found true, which is not available in this version; allowed: false");
        }
        if (auto* const* to = std::get_if<bool*>(&field)) **to = *value;
      }
      break;
    case KeyType::kString:
      if (auto value = table.string(key.key())) *std::get<std::string*>(field) = std::move(*value);
      break;
    case KeyType::kChoice:
      read_choice(key, field);
      break;
    case KeyType::kStrings:
      if (auto value = table.strings(key.key())) {
        *std::get<std::vector<std::string>*>(field) = std::move(*value);
      }
      break;
    case KeyType::kSources:
      read_sources(key, job);
      break;
  }
}

void JobReader::read_choice(const JobKey& key, const Field& field) {
  const auto index = tables_.at(key.table()).choice(key.key(), key.choices, key.later);
  if (!index) return;
  if (auto* const* to = std::get_if<bool*>(&field)) **to = *index == 1;
  if (auto* const* to = std::get_if<std::string*>(&field)) {
    **to = key.choices[static_cast<std::size_t>(*index)];
  }
}

void JobReader::read_sources(const JobKey& key, Job& job) {
  auto rows = tables_.at(key.table()).tables(key.key());
  if (!rows) return;
  if (rows->empty()) refuse(key.name, "found no source; allowed: " + key.rule);
  for (ConfigTable& row : *rows) {
    DataSource source;
    const auto path = row.string("path");
    if (const auto weight = row.real("weight", {0.0, 1e9, true, false})) source.weight = *weight;
    row.finish();
    if (!path || path->empty()) {
      row.refuse("path", std::string(path ? "found \"\"" : "missing") +
                             "; allowed: the path of a token file made by `talaria-worker data "
                             "prepare`");
    }
    source.path = *path;
    job.data.sources.push_back(std::move(source));
  }
}

namespace {

// The file's text with what the first start fixes written out.
std::string pin(const ConfigFile& file, const Job& job) {
  std::vector<std::string> fixed = {
      fmt::format("optimizer.decay_steps={}", job.optimizer.decay_steps)};
  if (job.job.numerics.invariant) {
    fixed.push_back(fmt::format("job.virtual_shards={}", job.job.numerics.virtual_shards));
    fixed.push_back(fmt::format("job.sample_groups={}", job.job.numerics.sample_groups));
  }
  return ConfigFile::parse(file.to_toml(), "effective job file", fixed).to_toml();
}

}  // namespace

std::string started_stage(const std::string& start) {
  constexpr std::string_view kPrefix = "stage:";
  return start.starts_with(kPrefix) ? start.substr(kPrefix.size()) : "";
}

Job parse_job(const ConfigFile& file) {
  JobReader reader(file);
  Job job = reader.read();
  settle(reader, nullptr, job);
  job.effective_toml = pin(file, job);
  return job;
}

Job continue_job(const ConfigFile& file, const Job& saved) {
  JobReader reader(file);
  Job job = reader.read();
  settle(reader, &saved, job);
  if (const auto found = first_difference(saved, job)) reader.refuse(found->key, found->message);
  job.effective_toml = pin(file, job);
  return job;
}

void check_continuation(const Job& saved, const Job& now) {
  if (const auto found = first_difference(saved, now)) {
    fail_usage("{}: {}", found->key, found->message);
  }
}

}  // namespace talaria::launch
