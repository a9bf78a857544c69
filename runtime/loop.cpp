#include "runtime/loop.hpp"

#include "runtime/log.hpp"

#include <algorithm>
#include <mutex>
#include <pthread.h>
#include <stdexcept>
#include <thread>
#include <unordered_set>
#include <utility>
#include <uv.h>
#include <vector>

namespace troupe {
namespace {

using work_list = std::vector<std::function<void()>>;

/// A throw through libuv's C frames would be undefined; it is our bug, but not worth a dead daemon.
void run_guarded(const std::function<void()>& work) {
  try {
    work();
  } catch (const std::exception& e) {
    log().error("A callback of a loop threw: {}", e.what());
  } catch (...) {
    log().error("A callback of a loop threw");
  }
}

/// What libuv knows of a handle. It is freed when both the owner has let go and libuv has closed it, in either order,
/// so that an owner may outlive the loop.
struct node {
  union {
    uv_handle_t any;
    uv_timer_t timer;
    uv_poll_t poll;
  };
  std::function<void()> call;
  std::unordered_set<node*>* open = nullptr; // the loop's; null once closing
  bool owned = true;
  bool closed = false;

  void close() {
    if (!open) return;
    std::exchange(open, nullptr)->erase(this);
    uv_close(&any, [](uv_handle_t* h) {
      auto* self = static_cast<node*>(h->data);
      auto last = std::move(self->call); // dies last: it may hold the owner, and that may delete the node
      if (self->owned)
        self->closed = true;
      else
        delete self;
    });
  }
};

class owned_node final : public loop::handle {
public:
  explicit owned_node(node* n) : node_{n} {}
  owned_node(const owned_node&) = delete;
  owned_node& operator=(const owned_node&) = delete;
  ~owned_node() override {
    node_->owned = false;
    if (node_->closed)
      delete node_;
    else
      node_->close();
  }

private:
  node* node_;
};

} // namespace

struct loop::data {
  uv_loop_t uv{};
  uv_async_t wake{};
  std::thread thread;
  std::unordered_set<node*> open;

  std::mutex lock;
  work_list posted;    // guarded by lock
  bool ending = false; // guarded by lock: leave as soon as `posted` is empty
  bool ended = false;  // guarded by lock: nothing is taken any more

  void run() {
    uv_run(&uv, UV_RUN_DEFAULT);
    while (uv_loop_close(&uv) == UV_EBUSY) { // what died while closing made something new
      close_all();
      uv_run(&uv, UV_RUN_DEFAULT);
    }
  }

  /// Runs what was posted until nothing is left, also what that posted in turn, if the loop ends.
  void drain() {
    for (;;) {
      work_list batch;
      bool end = false;
      {
        std::lock_guard guard{lock};
        batch.swap(posted);
        end = ending;
        if (batch.empty() && end) ended = true;
      }
      for (auto& work : batch) {
        run_guarded(work);
        work = nullptr; // what it holds dies before the next one runs
      }
      if (!end) return;
      if (batch.empty()) return close_all();
    }
  }

  void close_all() {
    while (!open.empty()) (*open.begin())->close();
    uv_walk(
        &uv,
        [](uv_handle_t* h, void*) {
          if (!uv_is_closing(h)) uv_close(h, nullptr);
        },
        nullptr);
  }

  node* make_node(std::function<void()> call) {
    auto* made = new node{};
    made->call = std::move(call);
    made->any.data = made;
    return made;
  }

  handle_ptr start_timer(std::chrono::milliseconds delay, std::chrono::milliseconds period,
                         std::function<void()> then) {
    auto* made = make_node(std::move(then));
    uv_timer_init(&uv, &made->timer);
    made->any.data = made;
    made->open = &open;
    open.insert(made);
    uv_update_time(&uv); // the cached time may be old: the delay must not come out shorter
    uv_timer_start(
        &made->timer, [](uv_timer_t* t) { run_guarded(static_cast<node*>(t->data)->call); },
        static_cast<uint64_t>(std::max<int64_t>(delay.count(), 0)),
        static_cast<uint64_t>(std::max<int64_t>(period.count(), 0)));
    return std::make_unique<owned_node>(made);
  }
};

loop::loop(std::string name) : data_{std::make_unique<data>()} {
  auto* d = data_.get();
  if (int e = uv_loop_init(&d->uv))
    throw std::runtime_error{std::string{"Cannot make an event loop: "} + uv_strerror(e)};
  d->wake.data = d;
  if (int e = uv_async_init(&d->uv, &d->wake, [](uv_async_t* a) { static_cast<data*>(a->data)->drain(); })) {
    uv_loop_close(&d->uv);
    throw std::runtime_error{std::string{"Cannot make an event loop: "} + uv_strerror(e)};
  }
  d->thread = std::thread{[d] { d->run(); }};
  pthread_setname_np(d->thread.native_handle(), name.substr(0, 15).c_str()); // the kernel's limit
}

loop::~loop() {
  {
    std::lock_guard guard{data_->lock};
    data_->ending = true;
    uv_async_send(&data_->wake); // inside the lock: the loop cannot be gone yet
  }
  data_->thread.join();
}

void loop::post(std::function<void()> work) {
  std::lock_guard guard{data_->lock};
  if (data_->ended) return;
  data_->posted.push_back(std::move(work));
  // One wake-up per batch: whoever finds the list empty sends it. Inside the lock, so that the handle still exists.
  if (data_->posted.size() == 1) uv_async_send(&data_->wake);
}

bool loop::on_thread() const noexcept { return std::this_thread::get_id() == data_->thread.get_id(); }

uv_loop_s* loop::raw() noexcept { return &data_->uv; }

loop::handle_ptr loop::after(std::chrono::milliseconds delay, std::function<void()> then) {
  return data_->start_timer(delay, std::chrono::milliseconds{0}, std::move(then));
}

loop::handle_ptr loop::every(std::chrono::milliseconds period, std::function<void()> then) {
  auto least = std::max(period, std::chrono::milliseconds{1}); // zero would mean "once" to libuv
  return data_->start_timer(least, least, std::move(then));
}

loop::handle_ptr loop::watch_readable(int fd, std::function<void()> ready) {
  auto* made = data_->make_node(std::move(ready));
  if (uv_poll_init(&data_->uv, &made->poll, fd) != 0) {
    delete made;
    return nullptr;
  }
  made->any.data = made;
  made->open = &data_->open;
  data_->open.insert(made);
  // An error on the descriptor is "readable" too: the reader finds it when it reads.
  uv_poll_start(&made->poll, UV_READABLE | UV_DISCONNECT,
                [](uv_poll_t* p, int, int) { run_guarded(static_cast<node*>(p->data)->call); });
  return std::make_unique<owned_node>(made);
}

} // namespace troupe
