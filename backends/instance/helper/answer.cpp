#include "backends/instance/helper/answer.hpp"

namespace troupe::files {

answer error_answer(const error& why) {
  return answer::make([&](schema::HelperAnswer::Builder a) {
    auto e = a.initError();
    e.setCode(static_cast<uint16_t>(why.code));
    e.setMessage(why.message);
    e.setEntity(why.entity);
  });
}

answer done_answer() {
  return answer::make([](schema::HelperAnswer::Builder a) { a.setDone(); });
}

} // namespace troupe::files
