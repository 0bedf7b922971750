// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Returns from the enclosing function with the status if it is not OK.
#define CAMHERD_RETURN_IF_ERROR(expr)                                   \
  do {                                                                  \
    if (absl::Status camherd_status_ = (expr); !camherd_status_.ok()) { \
      return camherd_status_;                                           \
    }                                                                   \
  } while (false)

// CAMHERD_ASSIGN_OR_RETURN(lhs, expr): assigns the value, or returns the
// status. `lhs` may declare a variable.
#define CAMHERD_ASSIGN_OR_RETURN(lhs, expr)                                    \
  CAMHERD_ASSIGN_OR_RETURN_IMPL_(CAMHERD_CONCAT_(camherd_statusor_, __LINE__), \
                                 lhs, expr)
#define CAMHERD_CONCAT_INNER_(a, b) a##b
#define CAMHERD_CONCAT_(a, b) CAMHERD_CONCAT_INNER_(a, b)
// NOLINTBEGIN(bugprone-macro-parentheses): names and a declaration take none.
#define CAMHERD_ASSIGN_OR_RETURN_IMPL_(statusor, lhs, expr) \
  auto statusor = (expr);                                   \
  if (!statusor.ok()) return std::move(statusor).status();  \
  lhs = *std::move(statusor)
// NOLINTEND(bugprone-macro-parentheses)
