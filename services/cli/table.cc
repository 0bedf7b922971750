// SPDX-License-Identifier: Apache-2.0
#include "services/cli/table.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace camherd::cli {
namespace {

constexpr size_t kGap = 2;

}  // namespace

Table::Table(const std::vector<std::string>& titles) {
  for (const std::string& title : titles) {
    absl::string_view text = title;
    at_right_.push_back(absl::ConsumeSuffix(&text, "#"));
    titles_.push_back({.text = std::string(text), .colour = Colour::kBold});
  }
}

void Table::Add(std::vector<Cell> cells) {
  for (Cell& cell : cells) {
    cell.text = Printable(cell.text);
    if (cell.text.empty()) cell.text.push_back('-');
  }
  rows_.push_back(std::move(cells));
}

std::string Table::ToText(const Console& console) const {
  std::vector<size_t> widths;
  for (size_t column = 0; column < titles_.size(); ++column) {
    size_t width = Width(titles_[column].text);
    for (const auto& row : rows_) {
      width = std::max(width, Width(row[column].text));
    }
    widths.push_back(width);
  }
  std::string text;
  const auto add_line = [&](const std::vector<Cell>& cells) {
    std::string line;
    size_t used = 0;
    for (size_t column = 0; column < cells.size(); ++column) {
      const Cell& cell = cells[column];
      const bool last = column + 1 == cells.size();
      std::string shown = cell.text;
      // Where nothing would be left of the last column the line is broken.
      if (const auto all = static_cast<size_t>(console.columns());
          last && all > used + 8) {
        shown = Cut(shown, all - used);
      }
      const std::string space(
          widths[column] - std::min(widths[column], Width(shown)), ' ');
      if (at_right_[column]) line += space;
      line += console.Paint(cell.colour, shown);
      if (!at_right_[column] && !last) line += space;
      if (!last) line.append(kGap, ' ');
      used += widths[column] + kGap;
    }
    absl::StrAppend(&text, line, "\n");
  };
  add_line(titles_);
  for (const auto& row : rows_) add_line(row);
  return text;
}

}  // namespace camherd::cli
