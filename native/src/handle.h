// go-faiss keeps its C pointer private. The one call that passes a pointer
// and a number chosen by the caller is ParameterSpace.SetIndexParameter, so
// "setting" this parameter to a token publishes the index under the token
// until vs_take_handle collects it.
#pragma once

#include <faiss/Index.h>

namespace vs {

constexpr const char* kHandleParameter = "vectorstore_handle";

void publish_handle(double token, faiss::Index* index);

} // namespace vs
