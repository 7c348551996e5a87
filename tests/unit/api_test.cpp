// SPDX-License-Identifier: Apache-2.0
// The API without sockets: JSON there and back, and what each request is answered.
#include <cmath>

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/api/json.h"
#include "coordinator/api/routes.h"
#include "tests/support/fake_service.h"

namespace talaria::coordinator {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr User kAlice = {1001, 1001};
constexpr User kBob = {1002, 1002};
constexpr User kRoot = {0, 0};

const std::string kSubmit =
    R"({"job_toml": "[job]", "file_name": "a.toml", "run_directory": "/r/a", "working_directory": "/r"})";

JobView full_view() {
  JobView view = fake_job("quick", 1001, 1000.5);
  view.job.id = 7;
  view.job.wish = Wish::kCancel;
  view.notice = "state.db: disk full";
  StageView& stage = view.stages[0];
  stage.row.key = {7, 0};
  stage.row.after = {"before"};
  stage.row.state = StageState::kBackoff;
  stage.row.not_before = 1003.25;
  stage.row.failures = 2;
  stage.row.restarts = 3;
  stage.row.max_restarts = 4;
  AttemptRow attempt;
  attempt.stage = stage.row.key;
  attempt.attempt = 3;
  attempt.attempt_id = "j7-s0-abc";
  attempt.secret = "0123secret4567";
  attempt.state = AttemptState::kEnded;
  attempt.planned = 1001.0;
  attempt.ended = 1002.0;
  attempt.outcome = "failed";
  attempt.exit_code = 137;
  attempt.reason = "rank 3 was killed";
  stage.attempts = {attempt};
  stage.row.attempt = attempt;
  stage.progress = {412, 1000, 3.25, 12345.0, 0.41, 3.5, 400, 270.0, 8};
  stage.ranks = {{3, "node1", 4711, true, 0.25, "step", 1.5, "all_reduce", 412, 1 << 30}};
  stage.row.gates = {"before.loss < 3", "before.grad_norm < 1"};
  stage.gates = {{"before.loss < 3", 2.5, true},
                 {"before.grad_norm < 1", std::nullopt, std::nullopt}};
  stage.artifact.emplace();
  stage.artifact->kind = "pretrain";
  stage.artifact->checkpoint = "checkpoints/step-00000412";
  stage.artifact->metrics = {{"loss", 3.25}};
  stage.artifact->origins = {{"weights", "/runs/quick/checkpoints/step-00000007", 7, "aa"},
                             {"value", "/elsewhere/checkpoints/step-00000009", 9, "bb"}};
  view.transitions = {{1000.5, -1, 0, "run", "cancel", "by hand"},
                      {1001.0, 0, 3, "planned", "running", ""}};
  return view;
}

TEST(ApiJson, AJobComesBackWhole) {
  const JobView view = full_view();
  const JobView back = parse_job_view(to_json(view, Detail::kAll));
  EXPECT_EQ(back.job.id, 7);
  EXPECT_EQ(back.job.name, "quick");
  EXPECT_EQ(back.job.uid, 1001U);
  EXPECT_EQ(back.job.wish, Wish::kCancel);
  EXPECT_EQ(back.job.submitted, 1000.5);
  EXPECT_EQ(back.notice, "state.db: disk full");
  ASSERT_EQ(back.stages.size(), 1U);
  const StageView& stage = back.stages[0];
  EXPECT_EQ(stage.row.key, (StageKey{7, 0}));
  EXPECT_EQ(stage.row.after, std::vector<std::string>{"before"});
  EXPECT_EQ(stage.row.state, StageState::kBackoff);
  EXPECT_EQ(stage.row.not_before, 1003.25);
  EXPECT_EQ(stage.row.restarts, 3);
  EXPECT_EQ(stage.progress.step, 412);
  EXPECT_EQ(stage.progress.validation_loss, 3.5);
  EXPECT_EQ(stage.progress.ranks_connected, 8);
  ASSERT_EQ(stage.attempts.size(), 1U);
  EXPECT_EQ(stage.attempts[0].exit_code, 137);
  EXPECT_EQ(stage.row.attempt->reason, "rank 3 was killed");
  ASSERT_EQ(stage.ranks.size(), 1U);
  EXPECT_EQ(stage.ranks[0].wait, "all_reduce");
  EXPECT_EQ(stage.ranks[0].rss_bytes, 1 << 30);
  EXPECT_EQ(stage.row.gates, view.stages[0].row.gates);
  ASSERT_EQ(stage.gates.size(), 2U);
  EXPECT_EQ(stage.gates[0].value, 2.5);
  EXPECT_EQ(stage.gates[0].holds, true);
  EXPECT_FALSE(stage.gates[1].value || stage.gates[1].holds);
  EXPECT_EQ(stage.artifact.value().metrics.at("loss"), 3.25);
  EXPECT_EQ(stage.artifact.value().origins.at(1).step, 9);
  ASSERT_EQ(back.transitions.size(), 2U);
  EXPECT_EQ(back.transitions[0].stage, -1);
  EXPECT_EQ(back.transitions[1].attempt, 3);
  // The same text again: nothing is lost on the way.
  EXPECT_EQ(to_json(back, Detail::kAll), to_json(view, Detail::kAll));
}

TEST(ApiJson, WeightsOfTheJobsOwnStagesAreNamedByThem) {
  const std::string text = to_json(full_view(), Detail::kAll);
  EXPECT_THAT(text, HasSubstr(R"("step":7,"weights_hash":"aa","stage":"quick"})"));
  EXPECT_THAT(text, HasSubstr(R"("step":9,"weights_hash":"bb"})"));
  JobView view = full_view();
  view.job.working_directory = "/runs";
  view.stages[0].artifact->origins[0].checkpoint = "quick/checkpoints/step-00000007";
  EXPECT_THAT(to_json(view, Detail::kAll), HasSubstr("\"stage\":\"quick\""));
}

TEST(ApiJson, SampleAnswersAreToldWhereTheyWereRead) {
  JobView view = full_view();
  EXPECT_THAT(to_json(view, Detail::kAll), Not(HasSubstr("\"samples\"")));
  std::vector<SampleView>& samples = view.stages[0].samples;
  samples.resize(2);
  samples[0].prompt = "1+1=";
  samples[0].before.text = "\xff";
  samples[0].before.score = -0.5;
  samples[1].prompt = "1+2=";
  samples[1].now.emplace();
  samples[1].now->step = 20;
  samples[1].now->text = "3";
  samples[1].now->stopped = true;
  samples[1].now->score = 1.0;
  const std::string text = to_json(view, Detail::kAll);
  EXPECT_THAT(text, HasSubstr(R"("samples":[{"prompt":"1+1=","before":{"step":0,"answer":")"
                              "\xEF\xBF\xBD"
                              R"(","stopped":false,"score":-5E-1},"now":null},)"));
  EXPECT_THAT(text, HasSubstr(R"("now":{"step":20,"answer":"3","stopped":true,"score":1E0}}])"));
  EXPECT_EQ(parse_job_view(text).stages.size(), view.stages.size());
}

TEST(ApiJson, AListLeavesDetailsOut) {
  const std::string text = to_json(std::vector<JobView>{full_view()});
  EXPECT_THAT(text, Not(HasSubstr("transitions")));
  EXPECT_THAT(text, Not(HasSubstr("reports")));
  const std::vector<JobView> back = parse_job_views(text);
  ASSERT_EQ(back.size(), 1U);
  EXPECT_EQ(back[0].stages[0].progress.steps, 1000);
}

TEST(ApiJson, SecretsStayAtHome) {
  EXPECT_THAT(to_json(full_view(), Detail::kAll), Not(HasSubstr("0123secret4567")));
}

TEST(ApiJson, NumbersThatAreNoneTravelAsNull) {
  JobView view = full_view();
  view.stages[0].progress.loss = std::nan("");
  view.stages[0].progress.validation_loss = INFINITY;
  view.stages[0].progress.seconds_left = INFINITY;
  const JobView back = parse_job_view(to_json(view, Detail::kAll));
  EXPECT_TRUE(std::isnan(back.stages[0].progress.loss));
  EXPECT_FALSE(back.stages[0].progress.validation_loss.has_value());
  EXPECT_EQ(back.stages[0].progress.seconds_left, 0.0);
}

TEST(ApiJson, HostileTextComesThroughAsText) {
  const std::string names[] = {"$(id)",
                               "a\"b\\c",
                               "line\n#SBATCH",
                               "\x1b[2J",
                               "../../etc",
                               std::string(10'000, 'x'),
                               std::string("nul\0byte", 8)};
  for (const std::string& name : names) {
    JobView view = full_view();
    view.job.name = name;
    view.stages[0].row.reason = name;
    EXPECT_EQ(parse_job_view(to_json(view, Detail::kAll)).job.name, name);
  }
  JobView view = full_view();
  view.job.name = "caf\xE9\xFF";  // Latin-1 is no UTF-8
  EXPECT_EQ(parse_job_view(to_json(view, Detail::kAll)).job.name, "caf\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST(ApiJson, DamagedAnswersAreErrors) {
  const std::string good = to_json(full_view(), Detail::kAll);
  for (const char* text :
       {"", "{", "[]", "7", "null", R"({"id": "7"})", R"({"stages": 3})", R"({"stages": [3]})",
        R"({"wish": "fly"})", R"({"stages": [{"state": "done", "artifact": {"kind": 3}}]})",
        R"({"stages": [{"state": "done", "gates": [3]}]})", R"({"uid": -1})",
        R"({"uid": 4294967296})", R"({"id": 1e300})"}) {
    EXPECT_THROW(parse_job_view(text), Error) << text;
  }
  for (std::size_t cut = 0; cut < good.size(); cut += 7) {
    EXPECT_THROW(parse_job_view(good.substr(0, cut)), Error);
  }
  const std::string deep(100'000, '[');
  EXPECT_THROW(parse_job_view(deep), Error);
}

class Routes : public testing::Test {
 protected:
  ApiResponse ask(const User& user, const std::string& method, const std::string& target,
                  const std::string& body = "") {
    return answer(service_, {method, target, body, user});
  }
  FakeService service_;
};

TEST_F(Routes, AJobsLife) {
  const ApiResponse made = ask(kAlice, "POST", "/v1/jobs", kSubmit);
  EXPECT_EQ(made.status, 201);
  EXPECT_EQ(parse_id(made.body), 1);
  EXPECT_EQ(ask(kAlice, "POST", "/v1/jobs", kSubmit).status, 409);
  const ApiResponse shown = ask(kAlice, "GET", "/v1/jobs/1");
  EXPECT_EQ(shown.status, 200);
  EXPECT_EQ(parse_job_view(shown.body).job.run_directory, "/r/a");
  EXPECT_EQ(ask(kAlice, "POST", "/v1/jobs/1/retry").status, 409);
  EXPECT_EQ(ask(kAlice, "POST", "/v1/jobs/1/stop", R"({"reason": "lunch"})").status, 200);
  EXPECT_EQ(service_.at(1).job.wish, Wish::kStop);
  EXPECT_EQ(service_.at(1).transitions.back().reason, "lunch");
  EXPECT_EQ(ask(kAlice, "POST", "/v1/jobs/1/kill").status, 200);
  EXPECT_EQ(service_.at(1).job.wish, Wish::kKill);
  service_.move(1, StageState::kCancelled, "", 1.0);
  EXPECT_EQ(parse_job_views(ask(kAlice, "GET", "/v1/jobs").body).size(), 0U);
  EXPECT_EQ(parse_job_views(ask(kAlice, "GET", "/v1/jobs?all=1").body).size(), 1U);
  EXPECT_EQ(ask(kAlice, "POST", "/v1/jobs/1/cancel").status, 409);
  EXPECT_EQ(ask(kAlice, "POST", "/v1/jobs/1/retry").status, 200);
}

TEST_F(Routes, OthersJobsDoNotExist) {
  ask(kAlice, "POST", "/v1/jobs", kSubmit);
  const std::string missing = ask(kBob, "GET", "/v1/jobs/2").body;
  for (const auto& [method, target] :
       {std::pair("GET", "/v1/jobs/1"), std::pair("POST", "/v1/jobs/1/stop"),
        std::pair("POST", "/v1/jobs/1/cancel"), std::pair("POST", "/v1/jobs/1/kill"),
        std::pair("POST", "/v1/jobs/1/retry")}) {
    EXPECT_EQ(ask(kBob, method, target).status, 404) << target;
    EXPECT_EQ(ask(kRoot, method, target).status, std::string(target).ends_with("retry") ? 409 : 200)
        << target;
  }
  EXPECT_THAT(missing, HasSubstr("none"));
  EXPECT_EQ(parse_job_views(ask(kBob, "GET", "/v1/jobs?all=1").body).size(), 0U);
  EXPECT_EQ(parse_job_views(ask(kRoot, "GET", "/v1/jobs?all=1").body).size(), 1U);
}

TEST_F(Routes, BadRequestsAreSaid) {
  struct Case {
    const char* method;
    const char* target;
    const char* body;
    int status;
  };
  const Case cases[] = {
      {"GET", "/", "", 404},
      {"GET", "", "", 404},
      {"GET", "*", "", 404},
      {"GET", "/v2/jobs", "", 404},
      {"GET", "/v1", "", 404},
      {"GET", "/v1/jobs/", "", 404},
      {"GET", "/v1/jobs/0", "", 404},
      {"GET", "/v1/jobs/-1", "", 404},
      {"GET", "/v1/jobs/1x", "", 404},
      {"GET", "/v1/jobs/99999999999999999999", "", 404},
      {"GET", "/v1/jobs/../jobs", "", 404},
      {"GET", "/v1/jobs/1/stop/now", "", 404},
      {"POST", "/v1/jobs/1/fly", "", 404},
      {"GET", "/v1/jobs?all=2", "", 400},
      {"GET", "/v1/jobs?uid=0", "", 400},
      {"DELETE", "/v1/jobs", "", 405},
      {"PUT", "/v1/jobs/1", "", 405},
      {"GET", "/v1/jobs/1/stop", "", 405},
      {"POST", "/v1/version", "", 405},
      {"POST", "/v1/jobs", "", 400},
      {"POST", "/v1/jobs", "{}", 400},
      {"POST", "/v1/jobs", "[1, 2", 400},
      {"POST", "/v1/jobs/1/stop", "{\"reason\": 3}", 400},
      {"POST", "/v1/jobs/1/stop", "{\"why\": \"x\"}", 400},
  };
  ask(kAlice, "POST", "/v1/jobs", kSubmit);
  for (const Case& each : cases) {
    const ApiResponse response = ask(kAlice, each.method, each.target, each.body);
    EXPECT_EQ(response.status, each.status) << each.method << " " << each.target;
    EXPECT_NE(parse_error(response.body), "") << each.target;
    EXPECT_EQ(parse_error(response.body).find('\n'), std::string::npos);
    EXPECT_EQ(response.allow.empty(), response.status != 405);
  }
}

TEST_F(Routes, ASubmissionIsLookedAtKeyByKey) {
  const auto with = [](const char* key, const boost::json::value& value) {
    boost::json::object object = boost::json::parse(kSubmit).as_object();
    object[key] = value;
    return boost::json::serialize(object);
  };
  const std::string bad[] = {with("run_directory", "relative"),
                             with("working_directory", ""),
                             with("job_toml", 3),
                             with("job_toml", nullptr),
                             with("run_directory", boost::json::string("/a\0b", 4)),
                             with("uid", 0),
                             with("run_directory", boost::json::array{"/a"})};
  for (const std::string& body : bad) {
    EXPECT_EQ(ask(kAlice, "POST", "/v1/jobs", body).status, 400) << body;
  }
  EXPECT_EQ(ask(kAlice, "POST", "/v1/jobs", kSubmit).status, 201);
}

TEST_F(Routes, WhatWasTypedComesBackHarmless) {
  const std::string said =
      parse_error(ask(kAlice, "GET", "/v1/\x1b[2J\nfoo" + std::string(5000, 'a')).body);
  EXPECT_THAT(said, HasSubstr("\\x1b[2J\\nfoo"));
  EXPECT_LT(said.size(), 200U);
}

TEST_F(Routes, TheVersionTellsWhoAnswers) {
  const Version version = parse_version(ask(kBob, "GET", "/v1/version").body);
  EXPECT_EQ(version.api, 1);
  EXPECT_EQ(version.pid, ::getpid());
  EXPECT_FALSE(version.host.empty());
}

}  // namespace
}  // namespace talaria::coordinator
