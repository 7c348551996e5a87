// SPDX-License-Identifier: Apache-2.0
#include "coordinator/api/routes.h"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <vector>

#include <unistd.h>

#include "cluster/base/lock_file.h"
#include "cluster/base/text.h"
#include "coordinator/api/json.h"

namespace talaria::coordinator {
namespace {

constexpr std::int64_t kApiVersion = 1;

// The parts of "/v1/jobs/7/stop" between the slashes.
std::vector<std::string_view> segments(std::string_view path) {
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    path.remove_prefix(1);  // the slash
    const std::size_t end = std::min(path.find('/'), path.size());
    parts.push_back(path.substr(0, end));
    path.remove_prefix(end);
  }
  return parts;
}

[[noreturn]] void refuse_method(const std::string& method) {
  throw Refusal(405, fmt::format("method {} is not allowed here", in_quotes(method)));
}

std::int64_t job_id(std::string_view word) {
  std::int64_t id = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
  if (error != std::errc() || end != word.data() + word.size() || id <= 0) {
    throw Refusal(404, fmt::format("{}: no such job", in_quotes(word)));
  }
  return id;
}

template <class Parse>
auto parsed(Parse parse, const std::string& body) {
  try {
    return parse(body);
  } catch (const Error& error) {
    throw Refusal(400, error.what());
  }
}

bool asks_for_all(std::string_view query) {
  if (query.empty() || query == "all=0") return false;
  if (query == "all=1") return true;
  throw Refusal(400, fmt::format("query {}: unknown; allowed: all=1", in_quotes(query)));
}

Wish wish_of(std::string_view verb) {
  if (verb == "stop") return Wish::kStop;
  if (verb == "cancel") return Wish::kCancel;
  if (verb == "kill") return Wish::kKill;
  throw Refusal(
      404, fmt::format("{}: no such verb; allowed: stop, cancel, kill or retry", in_quotes(verb)));
}

ApiResponse jobs(Service& service, const ApiRequest& request, std::string_view query) {
  if (request.method == "GET") {
    return {200, to_json(service.list(request.user, asks_for_all(query))), ""};
  }
  if (request.method != "POST") refuse_method(request.method);
  return {201, id_json(service.submit(parsed(parse_submit, request.body), request.user)), ""};
}

ApiResponse one_job(Service& service, const ApiRequest& request,
                    const std::vector<std::string_view>& path) {
  const std::int64_t id = job_id(path[2]);
  if (path.size() == 3) {
    if (request.method != "GET") refuse_method(request.method);
    return {200, to_json(service.show(id, request.user), Detail::kAll), ""};
  }
  if (path[3] == "retry") {
    if (request.method != "POST") refuse_method(request.method);
    service.retry(id, request.user);
  } else {
    const Wish wish = wish_of(path[3]);
    if (request.method != "POST") refuse_method(request.method);
    service.wish(id, wish, parsed(parse_reason, request.body), request.user);
  }
  return {200, id_json(id), ""};
}

ApiResponse version(const ApiRequest& request) {
  if (request.method != "GET") refuse_method(request.method);
  return {200, to_json(Version{TALARIA_VERSION, kApiVersion, ::getpid(), host_name()}), ""};
}

ApiResponse route(Service& service, const ApiRequest& request) {
  const std::string_view target = request.target;
  const std::size_t mark = std::min(target.find('?'), target.size());
  const std::string_view query = mark < target.size() ? target.substr(mark + 1) : "";
  if (target.starts_with('/')) {
    const std::vector<std::string_view> path = segments(target.substr(0, mark));
    const bool known = path.size() >= 2 && path[0] == "v1";
    if (known && path.size() == 2 && path[1] == "version") return version(request);
    if (known && path.size() == 2 && path[1] == "jobs") return jobs(service, request, query);
    if (known && path.size() <= 4 && path[1] == "jobs") return one_job(service, request, path);
  }
  throw Refusal(404, fmt::format("{}: no such path", in_quotes(target)));
}

// A path of the API allows one method, /v1/jobs two.
std::string allowed_methods(const ApiRequest& request) {
  if (request.target.starts_with("/v1/jobs")) {
    const std::size_t slashes =
        static_cast<std::size_t>(std::count(request.target.begin(), request.target.end(), '/'));
    if (slashes == 2) return "GET, POST";
    if (slashes == 4) return "POST";
  }
  return "GET";
}

}  // namespace

ApiResponse answer(Service& service, const ApiRequest& request) {
  try {
    return route(service, request);
  } catch (const Refusal& refusal) {
    return {refusal.status, error_json(refusal.what()),
            refusal.status == 405 ? allowed_methods(request) : ""};
  } catch (const UsageError& error) {
    return {400, error_json(error.what()), ""};
  } catch (const StorageFull& error) {
    return {507, error_json(error.what()), ""};
  } catch (const std::exception& error) {
    return {500, error_json(error.what()), ""};
  }
}

}  // namespace talaria::coordinator
