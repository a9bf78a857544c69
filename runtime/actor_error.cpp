#include "runtime/actor_error.hpp"

#include <caf/atom.hpp>
#include <caf/exit_reason.hpp>
#include <caf/message.hpp>
#include <caf/sec.hpp>

namespace troupe {
namespace {

constexpr auto category = caf::atom("troupe");

} // namespace

caf::error to_caf(const error& from) {
  return {static_cast<uint8_t>(from.code), category, caf::make_message(from.message, from.entity)};
}

error from_caf(const caf::error& from) {
  if (!from) return {fault::internal, "An actor failed without an error"};
  if (from.category() == category && from.context().match_elements<std::string, std::string>())
    return {static_cast<fault>(from.code()), from.context().get_as<std::string>(0),
            from.context().get_as<std::string>(1)};
  if (from == caf::sec::request_timeout) return {fault::timed_out, "An actor did not answer in time"};
  if (from == caf::sec::request_receiver_down || from.category() == caf::atom("exit"))
    return {fault::busy, "The part of the server that was at work on this failed and is started anew; try again"};
  return {fault::internal, "An actor failed: " + to_string(from)};
}

} // namespace troupe
