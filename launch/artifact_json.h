// SPDX-License-Identifier: Apache-2.0
// Artifacts and origins as parts of other JSON: manifests hold origins, the API artifacts.
#pragma once

#include <vector>

#include <boost/json/value.hpp>

#include "launch/artifact.h"

namespace talaria::launch {

boost::json::value to_json(const Artifact& artifact);
boost::json::value to_json(const std::vector<Origin>& origins);

// Each throws std::exception for a value that the function above did not make.
Artifact parse_artifact(const boost::json::value& value);
std::vector<Origin> parse_origins(const boost::json::value& value);

}  // namespace talaria::launch
