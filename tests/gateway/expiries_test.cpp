#include "gateway/expiries.hpp"

#include <catch2/catch.hpp>
#include <ctime>
#include <future>
#include <mutex>
#include <vector>

using namespace troupe;

TEST_CASE("names end at the latest of their times, the nearest first, and what is past at once") {
  loop on{"test"};
  std::mutex lock;
  std::vector<std::string> ended;
  std::promise<void> last;
  expiries all{on, [&](const std::string& name) {
                 std::lock_guard guard{lock};
                 ended.push_back(name);
                 if (name == "soon") last.set_value();
               }};
  auto now = time(nullptr);
  all.set("later", now + 1000);
  all.set("later", now - 5); // an older word of the same
  all.set("soon", now + 1);
  all.set("past", now - 5);
  last.get_future().wait();
  std::lock_guard guard{lock};
  CHECK(ended == std::vector<std::string>{"past", "soon"});
}
