// SPDX-License-Identifier: Apache-2.0
// What each request of the API does (docs/api.md): from method, target and body to a verb of the
// service, and from its outcome to status and JSON. Knows no sockets.
#pragma once

#include <string>

#include "coordinator/api/service.h"

namespace talaria::coordinator {

struct ApiRequest {
  std::string method;  // "GET"
  std::string target;  // "/v1/jobs?all=1"
  std::string body;
  User user;
};

struct ApiResponse {
  int status = 200;
  std::string body;   // JSON
  std::string allow;  // with 405: the method that would do
};

// Never throws for what a client sent or for what the service answers: those are statuses.
ApiResponse answer(Service& service, const ApiRequest& request);

}  // namespace talaria::coordinator
