#include "actors/ask.hpp"

#include <caf/detail/behavior_impl.hpp>
#include <caf/event_based_actor.hpp>

namespace troupe {
namespace {

// A behaviour for any answer: `caf::others` is for blocking actors only.
class any_answer : public caf::detail::behavior_impl {
public:
  explicit any_answer(std::function<void(const caf::message&)> then) : then_{std::move(then)} {}

  using behavior_impl::invoke;
  caf::match_case::result invoke(caf::detail::invoke_result_visitor& result, caf::type_erased_tuple& answer) override {
    then_(caf::message::copy(answer));
    result(); // without it CAF takes the answer for one that nobody expected
    return caf::match_case::match;
  }

private:
  std::function<void(const caf::message&)> then_;
};

} // namespace

void ask_untyped(caf::event_based_actor* self, const caf::actor& whom, caf::message request,
                 std::function<void(const caf::message&)> then) {
  auto handle = self->request(whom, caf::infinite, std::move(request));
  caf::behavior answered;
  answered.assign(caf::intrusive_ptr<caf::detail::behavior_impl>{new any_answer{std::move(then)}, false});
  self->add_multiplexed_response_handler(handle.id(), std::move(answered));
}

std::optional<error> error_in(const caf::message& answer) {
  if (!answer.match_elements<caf::error>()) return {};
  return from_caf(answer.get_as<caf::error>(0));
}

} // namespace troupe
