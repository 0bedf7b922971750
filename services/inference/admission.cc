// SPDX-License-Identifier: Apache-2.0
#include "services/inference/admission.h"

#include <algorithm>

namespace camherd::inference {
namespace {

// Streams beyond so many are refused without a ticket.
constexpr size_t kMaxTickets = 1000;

}  // namespace

bool Admission::Enter(const std::string& stream, int64_t bytes,
                      absl::Duration now) {
  tickets_.remove_if(
      [now](const Ticket& ticket) { return ticket.valid_until < now; });
  const auto own = std::find_if(
      tickets_.begin(), tickets_.end(),
      [&](const Ticket& ticket) { return ticket.stream == stream; });
  int batches_ahead = batches_;
  int64_t bytes_ahead = bytes_;
  for (auto ticket = tickets_.begin(); ticket != own; ++ticket) {
    ++batches_ahead;
    bytes_ahead += ticket->bytes;
  }
  if (batches_ahead < options_.max_batches &&
      bytes_ahead + bytes <= options_.max_bytes) {
    if (own != tickets_.end()) tickets_.erase(own);
    ++batches_;
    bytes_ += bytes;
    return true;
  }
  const Ticket ticket = {stream, bytes, now + options_.patience};
  if (own != tickets_.end()) {
    *own = ticket;
  } else if (tickets_.size() < kMaxTickets) {
    tickets_.push_back(ticket);
  }
  return false;
}

void Admission::Leave(int64_t bytes) {
  --batches_;
  bytes_ -= bytes;
}

}  // namespace camherd::inference
