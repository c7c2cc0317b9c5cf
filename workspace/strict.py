"""Request bodies, read strictly: what is unknown or of another type is refused, not guessed at."""

from typing import Any

from rest_framework import serializers

JSON_TYPES: dict[type[serializers.Field[Any, Any, Any, Any]], tuple[type, str]] = {
    serializers.CharField: (str, "a string"),
    serializers.BooleanField: (bool, "true or false"),
    serializers.IntegerField: (int, "a whole number"),
}


class StrictFields:
    """For serializers of a JSON body: refuses unknown fields, and values that are not of the field's JSON type."""

    fields: Any
    is_form = False  # in a form, everything is text
    ignores_unknown = False

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            if not self.ignores_unknown:
                self.refuse_unknown(data)
            if not self.is_form:
                self.refuse_other_types(data)
        return super().to_internal_value(data)  # type: ignore[misc]

    def refuse_unknown(self, data: dict[str, Any]) -> None:
        unknown = sorted(set(data) - set(self.fields))
        if unknown:
            known = ", ".join(self.fields)
            raise serializers.ValidationError({unknown[0]: f"This field is not known; there are: {known}."})

    def refuse_other_types(self, data: dict[str, Any]) -> None:
        for name, value in data.items():
            field = self.fields.get(name)
            items = value if isinstance(field, serializers.ListField) and isinstance(value, list) else [value]
            kind = field.child if isinstance(field, serializers.ListField) else field
            for field_type, (python_type, wanted) in JSON_TYPES.items():
                all_are = all(type(item) is python_type or item is None for item in items)
                if isinstance(kind, field_type) and not all_are:
                    raise serializers.ValidationError({name: f"It must be {wanted}."})

    @classmethod
    def read(cls, data: Any, **options: Any) -> dict[str, Any]:
        """The validated fields of a body.

        Raises:
            ValidationError: 400, naming the first field at fault.
        """
        serializer = cls(data=data, **options)  # type: ignore[call-arg]
        serializer.is_valid(raise_exception=True)  # type: ignore[attr-defined]
        return serializer.validated_data  # type: ignore[attr-defined]


class StrictSerializer(StrictFields, serializers.Serializer[Any]):
    """A strict body that belongs to no model."""
