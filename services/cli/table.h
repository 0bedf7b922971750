// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "services/cli/console.h"

namespace camherd::cli {

// Rows for people: a line of titles, columns as wide as they need to be, the
// last one cut where a terminal ends. Numbers stand at the right.
//
// Not thread-safe.
class Table {
 public:
  struct Cell {
    // Made Printable when it is added.
    std::string text;
    Colour colour = Colour::kNone;
  };

  // A title that ends in '#' is of a column of numbers; the mark is not shown.
  explicit Table(const std::vector<std::string>& titles);

  // REQUIRES: as many cells as there are titles.
  void Add(std::vector<Cell> cells);

  bool empty() const { return rows_.empty(); }

  // Lines with their ends. An empty table is its titles.
  std::string ToText(const Console& console) const;

 private:
  std::vector<Cell> titles_;
  std::vector<bool> at_right_;
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace camherd::cli
