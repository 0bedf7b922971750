// SPDX-License-Identifier: Apache-2.0
#include "gateway/start_fields.h"

namespace camherd::gateway {

const FieldRules& StartRules() {
  static const auto& rules = *new FieldRules{
      .aliases = {{"model_name", {.field = "models", .one_value = true}},
                  {"interval", {.field = "interval_seconds"}}}};
  return rules;
}

}  // namespace camherd::gateway
